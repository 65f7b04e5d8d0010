package eureka

import (
	"errors"
	"fmt"
	"maps"
)

// Check does what Eureka does with a decoded registration before it takes it:
// its checks in its order, with its texts. The error's text is the answer's
// body, with status 400. pathApp is the app that the request's path names; case
// never matters.
//
// Once all is well, an instance of Amazon whose metadata has no instance-id
// gets its [InstanceInfo.ID] written there (into a map of its own). So it is
// called by who has decoded the instance, before handing it on.
func (i *InstanceInfo) Check(pathApp string) error {
	id, expected := i.ID(), Upper(pathApp)
	switch {
	case id == "":
		return errors.New("Missing instanceId")
	case i.HostName == "":
		return errors.New("Missing hostname")
	case i.IPAddr == "":
		return errors.New("Missing ip address")
	case i.App == "":
		return errors.New("Missing appName")
	case Upper(i.App) != expected:
		return fmt.Errorf("Mismatched appName, expecting %s but was %s", expected, Upper(i.App))
	case i.DataCenterInfo.Name == "" && i.DataCenterInfo.Metadata == nil:
		return errors.New("Missing dataCenterInfo")
	case i.DataCenterInfo.Name == "":
		return errors.New("Missing dataCenterInfo Name") // distinguished by the decoder
	}
	if i.DataCenterInfo.Name == Amazon && i.DataCenterInfo.Metadata[amazonID] == "" {
		m := maps.Clone(i.DataCenterInfo.Metadata)
		if m == nil {
			m = make(map[string]string, 1)
		}
		m[amazonID] = id
		i.DataCenterInfo.Metadata = m
	}
	return nil
}
