package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/registryd/registryd/api"
)

// Bounds of what is read from a node.
const (
	maxVersionsBody = 1 << 30
	nodeTimeout     = 30 * time.Second
)

// defaultURL is the node that is asked where none is named.
const defaultURL = "http://127.0.0.1:" + eurekaPort

// errDiffer ends diff with exit code 1, like diff(1).
var errDiffer = errors.New("the nodes differ")

func runRepair(ctx context.Context, args []string, stdout, _ io.Writer) error {
	fs := newFlagSet("repair", "have a node compare itself with all its peers, and exchange what differs", stdout)
	node := fs.String("url", defaultURL, "`URL` of the node")
	if err := parse(fs, args); err != nil {
		return err
	}
	base, err := nodeURL(*node)
	if err != nil {
		return err
	}
	body, err := call(ctx, http.MethodPost, base+"/repair", http.StatusAccepted)
	if err == nil {
		fmt.Fprintln(stdout, strings.TrimSpace(string(body)))
	}
	return err
}

func runDiff(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	fs := newFlagSet("diff", "which instances differ between nodes, and how", stdout)
	node := fs.String("url", defaultURL, "`URLS` of nodes, separated by commas; of a single one the peers are asked too")
	wait := fs.Duration("wait", 3*time.Second, "look twice, so far apart, and tell what differs both times: not what is on its way")
	if err := parse(fs, args); err != nil {
		return err
	}
	if *wait < 0 {
		return usagef("--wait %v: negative", *wait)
	}
	var urls []string
	for u := range strings.SplitSeq(*node, ",") {
		base, err := nodeURL(strings.TrimSpace(u))
		if err != nil {
			return err
		}
		urls = append(urls, base)
	}
	first, err := look(ctx, urls)
	if err != nil {
		return err
	}
	differences := compareNodes(first)
	if len(differences) > 0 && *wait > 0 {
		timer := time.NewTimer(*wait)
		defer timer.Stop()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		}
		second, err := look(ctx, urls)
		if err != nil {
			return err
		}
		again := compareNodes(second)
		maps.DeleteFunc(differences, func(key, how string) bool { return again[key] != how })
	}
	for _, key := range slices.Sorted(maps.Keys(differences)) {
		fmt.Fprintf(stdout, "%s\n%s", key, differences[key])
	}
	fmt.Fprintf(stderr, "%d nodes, %d entries on the first, %d differ\n", len(first), len(first[0].Entries), len(differences))
	if len(differences) > 0 {
		return errDiffer
	}
	return nil
}

// nodeURL takes a node's URL, or its service URL, down to its root.
func nodeURL(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", usagef("--url %.200q: not an http or https URL", text)
	}
	return u.Scheme + "://" + u.Host, nil
}

// look reads the versions of all nodes; of a single one its peers' too.
func look(ctx context.Context, urls []string) ([]api.Versions, error) {
	var out []api.Versions
	seen := map[string]bool{}
	for i := 0; i < len(urls); i++ {
		if seen[urls[i]] {
			continue
		}
		seen[urls[i]] = true
		body, err := call(ctx, http.MethodGet, urls[i]+"/versions", http.StatusOK)
		if err != nil {
			return nil, err
		}
		var v api.Versions
		if err := json.Unmarshal(body, &v); err != nil {
			return nil, fmt.Errorf("%s/versions: %w", urls[i], err)
		}
		out = append(out, v)
		if i > 0 || len(urls) > 1 {
			continue
		}
		for _, p := range v.Peers {
			if base, err := nodeURL(p.URL); err == nil {
				urls = append(slices.Clone(urls), base)
			}
		}
	}
	return out, nil
}

// compareNodes returns, by instance, a line for each node on how it has it,
// where these are not alike.
func compareNodes(nodes []api.Versions) map[string]string {
	type held map[string]api.EntryVersion
	all := make([]held, len(nodes))
	keys := map[string]bool{}
	for i, n := range nodes {
		all[i] = make(held, len(n.Entries))
		for _, e := range n.Entries {
			key := e.App + "/" + e.ID
			all[i][key] = e
			keys[key] = true
		}
	}
	out := map[string]string{}
	for key := range keys {
		alike := true
		for i := range all {
			alike = alike && all[i][key] == all[0][key]
		}
		if alike {
			continue
		}
		var lines strings.Builder
		for i, n := range nodes {
			fmt.Fprintf(&lines, "  %-16s %s\n", n.Node, describe(all[i][key]))
		}
		out[key] = lines.String()
	}
	return out
}

func describe(e api.EntryVersion) string {
	if e.App == "" {
		return "not there"
	}
	record := "live"
	if !e.Live {
		record = "cancelled"
	}
	text := fmt.Sprintf("record %d %s %s", e.Record, record, e.Hash)
	if e.Override != 0 {
		override := "removed, " + string(e.OverrideStatus)
		if e.Set {
			override = string(e.OverrideStatus)
		}
		text += fmt.Sprintf("  override %d %s", e.Override, override)
	}
	return text
}

// call makes one request of a node and returns its body.
func call(ctx context.Context, method, target string, want int) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, nodeTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, target, http.NoBody)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxVersionsBody))
	if err = errors.Join(err, res.Body.Close()); err != nil {
		return nil, fmt.Errorf("%s: %w", target, err)
	}
	if res.StatusCode != want {
		return nil, fmt.Errorf("%s answered %s: %.200s", target, res.Status, body)
	}
	return body, nil
}
