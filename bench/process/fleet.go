package process

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// Fleet is so many instances, in applications of twenty, 500 at most.
type Fleet struct{ Size int }

// Apps is the number of applications.
func (f Fleet) Apps() int { return max(1, min(500, f.Size/20)) }

func (Fleet) id(i int) string { return fmt.Sprintf("host-%06d.example.com:app:8080", i) }

// Path is where the i-th instance is.
func (f Fleet) Path(i int) string {
	return fmt.Sprintf("/eureka/apps/APP-%03d/%s", i%f.Apps(), f.id(i))
}

// Renew is the i-th instance's heartbeat.
func (f Fleet) Renew(i int) Request {
	return Request{Method: http.MethodPut, Path: f.Path(i) + "?status=UP"}
}

// Cancel is the i-th instance's end.
func (f Fleet) Cancel(i int) Request { return Request{Method: http.MethodDelete, Path: f.Path(i)} }

// List asks for a list below apps: "", "/delta", or an application.
func List(what string) Request { return Request{Method: http.MethodGet, Path: "/eureka/apps" + what} }

// instance is about 1 kB, as Spring's client sends it: its id, host, application, address,
// version, and the time.
const instance = `{"instance":{"instanceId":"%[1]s","hostName":"%[2]s","app":"APP-%03[3]d","ipAddr":"%[4]s",
"status":"UP","overriddenstatus":"UNKNOWN","port":{"$":8080,"@enabled":"true"},
"securePort":{"$":443,"@enabled":"false"},"countryId":1,
"dataCenterInfo":{"@class":"com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo","name":"MyOwn"},
"leaseInfo":{"renewalIntervalInSecs":30,"durationInSecs":3600},
"metadata":{"management.port":"8081","version":"1.2.%[5]d","zone":"eu-west-1a"},
"homePageUrl":"http://%[2]s:8080/","statusPageUrl":"http://%[2]s:8080/actuator/info",
"healthCheckUrl":"http://%[2]s:8080/actuator/health","vipAddress":"app-%03[3]d",
"secureVipAddress":"app-%03[3]d","lastDirtyTimestamp":"%[6]d"}}`

// Register is the i-th instance's registration, dirty now.
func (f Fleet) Register(i int) Request {
	app, host := i%f.Apps(), fmt.Sprintf("host-%06d.example.com", i)
	address := fmt.Sprintf("10.%d.%d.%d", i>>16&255, i>>8&255, i&255)
	return Request{
		http.MethodPost, fmt.Sprintf("/eureka/apps/APP-%03d", app),
		fmt.Sprintf(instance, f.id(i), host, app, address, i%9, time.Now().UnixMilli()),
	}
}

// register makes a registration, again while the server says that it is busy, for half a
// minute: on a machine with other work it may have stood still.
func (s *Server) register(ctx context.Context, r Request) error {
	for began := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		code, _, err := s.Do(ctx, r)
		switch {
		case err != nil:
			return err
		case code == http.StatusNoContent:
			return nil
		case code != http.StatusServiceUnavailable || time.Since(began) > 30*time.Second:
			return fmt.Errorf("%s %s: status %d", r.Method, r.Path, code)
		}
	}
}

// Fill registers all instances, in turn with each of the servers, by so many clients.
func (f Fleet) Fill(ctx context.Context, clients int, servers ...*Server) error {
	var wg sync.WaitGroup
	errs := make([]error, clients)
	for c := range clients {
		wg.Go(func() {
			for i := c; i < f.Size && ctx.Err() == nil && errs[c] == nil; i += clients {
				errs[c] = servers[i%len(servers)].register(ctx, f.Register(i))
			}
		})
	}
	wg.Wait()
	return errors.Join(append(errs, ctx.Err())...)
}
