package main

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/registryd/registryd/bench/process"
)

// visit starts a server, fills it, measures all workloads, and stops it.
func visit(ctx context.Context, o *options, kind string, size int) (map[string]process.Measured, error) {
	s, err := start(ctx, o, kind)
	if err != nil {
		return nil, err
	}
	defer s.Kill()
	f := process.Fleet{Size: size}
	if err := f.Fill(ctx, o.clients, s); err != nil {
		return nil, err
	}
	select {
	case <-time.After(o.settle):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	out := make(map[string]process.Measured)
	for _, w := range process.Workloads() {
		if _, err := f.Measure(ctx, s, w, o.clients, o.lasts/2); err != nil { // warm up
			return nil, fmt.Errorf("%s: %w", w.Name, err)
		}
		if out[w.Name], err = f.Measure(ctx, s, w, o.clients, o.lasts); err != nil {
			return nil, fmt.Errorf("%s: %w", w.Name, err)
		}
	}
	return out, nil
}

func start(ctx context.Context, o *options, kind string) (*process.Server, error) {
	if kind != "java" {
		return process.Node(ctx, o.registryd, "measured", o.clients, nil,
			"--embedded-listen", "127.0.0.1:0", "--data", "none")
	}
	addr, err := process.FreeAddr(ctx)
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	return process.Start(ctx, addr, o.clients, nil, "java", "-Xmx2g", "-jar", o.jar,
		"--server.address=127.0.0.1", "--server.port="+port, "--logging.level.root=warn",
		"--eureka.client.register-with-eureka=false", "--eureka.client.fetch-registry=false")
}
