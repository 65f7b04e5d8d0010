package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/registryd/registryd/eureka"
)

// Register registers an instance under its App, or registers it again. Only
// 204 is success, as for Netflix's client.
func (c *Client) Register(ctx context.Context, info *eureka.InstanceInfo) error {
	if info == nil {
		return errors.New("register: the instance is nil")
	}
	id := info.ID()
	what := "register " + info.App + "/" + id
	if err := checkNames(info.App, id); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	_, err := c.do(ctx, what, call{
		method: http.MethodPost, path: []string{"apps", info.App},
		body: eureka.JSON.AppendInstanceDocument(nil, info), want: http.StatusNoContent,
	})
	if errors.Is(err, ErrNotFound) {
		return fmt.Errorf("%w (a service URL ends with /eureka/)", err)
	}
	return err
}

// Heartbeat renews the lease of an instance. status and lastDirtyTimestamp are
// those of its last registration; "" and [eureka.NoTimestamp] are left out.
// The error is [ErrNotFound] when the server wants the instance registered
// again.
func (c *Client) Heartbeat(ctx context.Context, app, id string, status eureka.Status, lastDirtyTimestamp int64) error {
	query := url.Values{}
	if status != "" {
		query.Set("status", string(status))
	}
	if lastDirtyTimestamp != eureka.NoTimestamp {
		query.Set("lastDirtyTimestamp", strconv.FormatInt(lastDirtyTimestamp, 10))
	}
	return c.change(ctx, "heartbeat", http.MethodPut, app, id, "", query)
}

// Cancel ends the lease of an instance. The error is [ErrNotFound] when the
// server doesn't know it.
func (c *Client) Cancel(ctx context.Context, app, id string) error {
	return c.change(ctx, "cancel", http.MethodDelete, app, id, "", nil)
}

// SetStatus sets the override of an instance's status. The error is
// [ErrNotFound] when the server doesn't know the instance.
func (c *Client) SetStatus(ctx context.Context, app, id string, status eureka.Status) error {
	query := url.Values{"value": {string(status)}}
	return c.change(ctx, "set status of", http.MethodPut, app, id, "status", query)
}

// DeleteStatus removes the override of an instance's status, which becomes
// value; "" is left out, and a server then makes it UNKNOWN. The error is
// [ErrNotFound] when the server doesn't know the instance.
func (c *Client) DeleteStatus(ctx context.Context, app, id string, value eureka.Status) error {
	query := url.Values{}
	if value != "" {
		query.Set("value", string(value))
	}
	return c.change(ctx, "delete status of", http.MethodDelete, app, id, "status", query)
}

// SetMetadata merges entries into the metadata of an instance. The error is
// [ErrNotFound] when the server doesn't know the instance.
func (c *Client) SetMetadata(ctx context.Context, app, id string, metadata map[string]string) error {
	query := make(url.Values, len(metadata))
	for key, value := range metadata {
		query.Set(key, value)
	}
	return c.change(ctx, "set metadata of", http.MethodPut, app, id, "metadata", query)
}

// change makes a call that changes an instance; below is "" or a path below it.
func (c *Client) change(ctx context.Context, verb, method, app, id, below string, query url.Values) error {
	what := verb + " " + app + "/" + id
	if err := checkNames(app, id); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	path := []string{"apps", app, id}
	if below != "" {
		path = append(path, below)
	}
	_, err := c.do(ctx, what, call{method: method, path: path, query: query, want: http.StatusOK})
	return err
}

// Applications returns all instances that the server lists.
func (c *Client) Applications(ctx context.Context) (eureka.Applications, error) {
	// With the slash, as Java asks.
	return get(ctx, c, "applications", call{path: []string{"apps"}, slash: true}, eureka.DecodeApplications)
}

// Delta returns the latest changes. The ActionType of each instance says how it
// is applied; HashCode is that of the full list.
func (c *Client) Delta(ctx context.Context) (eureka.Applications, error) {
	return get(ctx, c, "delta", call{path: []string{"apps", "delta"}}, eureka.DecodeApplications)
}

// Application returns the instances of one application. The error is
// [ErrNotFound] when there are none.
func (c *Client) Application(ctx context.Context, app string) (eureka.Application, error) {
	if err := checkNames(app, "-"); err != nil {
		return eureka.Application{}, fmt.Errorf("application %s: %w", app, err)
	}
	return get(ctx, c, "application "+app, call{path: []string{"apps", app}}, eureka.DecodeApplication)
}

// Instance returns one instance. The error is [ErrNotFound] when the server
// doesn't know it.
func (c *Client) Instance(ctx context.Context, app, id string) (*eureka.InstanceInfo, error) {
	what := "instance " + app + "/" + id
	if err := checkNames(app, id); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return get(ctx, c, what, call{path: []string{"apps", app, id}}, eureka.DecodeInstance)
}

// get makes a call that reads, and decodes its answer.
func get[T any](
	ctx context.Context, c *Client, what string, r call, decode func(eureka.Format, []byte) (T, error),
) (T, error) {
	r.method, r.want, r.read = http.MethodGet, http.StatusOK, true
	var none T
	body, err := c.do(ctx, what, r)
	if err != nil {
		return none, err
	}
	v, err := decode(eureka.JSON, body)
	if err != nil {
		return none, fmt.Errorf("%s: decode answer: %w", what, err)
	}
	return v, nil
}

// checkNames refuses what would become another path.
func checkNames(app, id string) error {
	if app == "" {
		return errors.New("the application's name is empty")
	}
	if id == "" {
		return errors.New("the instance's id is empty: set InstanceID or HostName")
	}
	return nil
}
