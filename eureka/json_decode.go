package eureka

import (
	"errors"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"
)

func decodeJSONInstance(body []byte) (*InstanceInfo, error) {
	r := newJSONReader(body)
	var i *InstanceInfo
	r.wrapped("instance", func() { i = r.instance(true) })
	if err := r.end(); err != nil {
		return nil, err
	}
	return i, nil
}

func decodeJSONApplications(body []byte) (Applications, error) {
	r := newJSONReader(body)
	a := Applications{Version: noVersion}
	r.wrapped("applications", func() { r.applications(&a) })
	if err := r.end(); err != nil {
		return Applications{}, err
	}
	return a, nil
}

func decodeJSONApplication(body []byte) (Application, error) {
	r := newJSONReader(body)
	var a Application
	r.wrapped("application", func() { a = r.application() })
	if err := r.end(); err != nil {
		return Application{}, err
	}
	return a, nil
}

// wrapped reads an object that has one member of that name and no other.
func (r *jsonReader) wrapped(name string, read func()) {
	if !r.object() {
		r.fail(errNotObject)
		return
	}
	key, ok := r.member()
	switch {
	case !ok:
		r.fail(fmt.Errorf("%s is missing", name))
		return
	case string(key) != name:
		r.fail(fmt.Errorf("is not %s", name))
		return
	case r.kind() == jsontext.KindNull:
		r.fail(errNotObject)
		return
	}
	read()
	if _, more := r.member(); more {
		r.fail(errors.New("is one member too many"))
	}
}

func (r *jsonReader) applications(a *Applications) {
	for ok := r.object(); ok; {
		var key []byte
		if key, ok = r.member(); !ok {
			return
		}
		switch string(key) {
		case "versions__delta":
			if a.Version = r.string(); a.Version == "" {
				a.Version = noVersion
			}
		case "apps__hashcode":
			a.HashCode = r.string()
		case "application":
			a.Applications = nil
			r.list(func() { a.Applications = append(a.Applications, r.application()) })
		default:
			r.skip()
		}
	}
}

func (r *jsonReader) application() Application {
	var a Application
	for ok := r.object(); ok; {
		var key []byte
		if key, ok = r.member(); !ok {
			break
		}
		switch string(key) {
		case "name":
			a.Name = r.string()
		case "instance":
			a.Instances = nil
			r.list(func() {
				if i := r.instance(false); i != nil { // nil after a failure
					a.Instances = append(a.Instances, i)
				}
			})
		default:
			r.skip()
		}
	}
	nameInstances(&a)
	return a
}

// instance reads a bare instance. Null is nil. Without an app it is refused if
// needApp.
func (r *jsonReader) instance(needApp bool) *InstanceInfo {
	if !r.object() {
		return nil
	}
	i, hasApp := newInstance(), false
	for {
		key, ok := r.member()
		if !ok {
			break
		}
		switch string(key) {
		case "instanceId":
			i.InstanceID = r.optional()
		case "hostName":
			i.HostName = r.string()
		case "app":
			var app []byte
			app, hasApp = r.scalar()
			i.App = Upper(string(app))
		case "ipAddr":
			i.IPAddr = r.string()
		case "sid":
			i.SID = knownSID(r.string())
		case "status":
			i.Status = r.status(StatusUp)
		case "overriddenStatus", "overriddenstatus":
			i.OverriddenStatus = r.status(StatusUnknown)
		case "port":
			i.Port = r.port(Port{Number: DefaultPort, Enabled: true})
		case "securePort":
			i.SecurePort = r.port(Port{Number: DefaultSecurePort})
		case "countryId":
			i.CountryID = r.narrow(r.unread(DefaultCountryID), DefaultCountryID)
		case "dataCenterInfo":
			i.DataCenterInfo = r.dataCenter()
		case "leaseInfo":
			i.LeaseInfo = r.lease()
		case "metadata":
			i.Metadata = r.metadata(true)
			if len(i.Metadata) == 0 {
				i.Metadata = nil
			}
		case "appGroupName":
			i.AppGroupName = nil
			if v, given := r.scalar(); given {
				i.AppGroupName = new(Upper(string(v)))
			}
		case "homePageUrl":
			i.HomePageURL = r.optional()
		case "statusPageUrl":
			i.StatusPageURL = r.optional()
		case "healthCheckUrl":
			i.HealthCheckURL = r.optional()
		case "secureHealthCheckUrl":
			i.SecureHealthCheckURL = r.optional()
		case "vipAddress":
			i.VIPAddress = r.optional()
		case "secureVipAddress":
			i.SecureVIPAddress = r.optional()
		case "isCoordinatingDiscoveryServer":
			i.IsCoordinatingDiscoveryServer = r.bool(false)
		case "lastUpdatedTimestamp":
			i.LastUpdatedTimestamp = r.unread(0)
		case "lastDirtyTimestamp":
			i.LastDirtyTimestamp = r.unread(NoTimestamp)
		case "actionType":
			i.ActionType = parseActionType(r.string())
		case "asgName":
			i.ASGName = r.optional()
		default:
			r.skip()
		}
	}
	if needApp && !hasApp {
		r.fail(errNoApp)
	}
	return i
}

// status reads a status; null is def, and what isn't one of the five UNKNOWN.
func (r *jsonReader) status(def Status) Status {
	v, ok := r.scalar()
	if !ok {
		return def
	}
	return statusOf(v)
}

// statusOf returns the status spelled exactly so, else UNKNOWN, and allocates
// nothing.
func statusOf(v []byte) Status {
	switch string(v) {
	case string(StatusUp):
		return StatusUp
	case string(StatusDown):
		return StatusDown
	case string(StatusStarting):
		return StatusStarting
	case string(StatusOutOfService):
		return StatusOutOfService
	default:
		return StatusUnknown
	}
}

// port reads {"$":8080,"@enabled":"true"}, or a plain number. What is missing
// is as in def.
func (r *jsonReader) port(def Port) Port {
	p := def
	switch r.kind() {
	case jsontext.KindNumber, jsontext.KindString:
		p.Number = r.small(def.Number)
		return p
	}
	for ok := r.object(); ok; {
		var key []byte
		if key, ok = r.member(); !ok {
			break
		}
		switch string(key) {
		case "$":
			p.Number = r.small(def.Number)
		case "@enabled":
			p.Enabled = r.bool(def.Enabled)
		default:
			r.skip()
		}
	}
	return p
}

func (r *jsonReader) lease() LeaseInfo {
	l := newLease()
	for ok := r.object(); ok; {
		var key []byte
		if key, ok = r.member(); !ok {
			break
		}
		switch string(key) {
		case "renewalIntervalInSecs":
			l.RenewalIntervalInSecs = positiveOr(r.small(0), DefaultRenewalInterval)
		case "durationInSecs":
			l.DurationInSecs = positiveOr(r.small(0), DefaultDuration)
		case "registrationTimestamp":
			l.RegistrationTimestamp = r.unread(0)
		case "lastRenewalTimestamp":
			l.LastRenewalTimestamp = r.unread(0)
		case "evictionTimestamp":
			l.EvictionTimestamp = r.unread(0)
		case "serviceUpTimestamp":
			l.ServiceUpTimestamp = r.unread(0)
		default:
			r.skip()
		}
	}
	return l
}

func (r *jsonReader) dataCenter() DataCenterInfo {
	if !r.object() {
		return DataCenterInfo{}
	}
	var class, name string
	var metadata map[string]string
	for {
		key, ok := r.member()
		if !ok {
			break
		}
		switch string(key) {
		case classKey:
			class = r.word()
		case "name":
			name = r.word()
		case "metadata": // whatever is no object is an empty one, as in Eureka
			metadata = map[string]string{}
			if r.kind() == jsontext.KindBeginObject {
				metadata = r.metadata(false)
			} else {
				r.skip()
			}
		default:
			r.skip()
		}
	}
	if r.err != nil {
		return DataCenterInfo{}
	}
	if class == classAmazon && metadata == nil {
		r.fail(errAmazon)
		return DataCenterInfo{}
	}
	d, err := dataCenter(class, name, metadata)
	if err != nil {
		r.fail(err)
	}
	return d
}

// word reads a text of a data centre without allocating the usual ones.
func (r *jsonReader) word() string {
	v, _ := r.scalar()
	switch string(v) {
	case classMyOwn:
		return classMyOwn
	case classAmazon:
		return classAmazon
	case MyOwn:
		return MyOwn
	case Amazon:
		return Amazon
	default:
		return string(v)
	}
}

// metadata reads an object of texts; numbers and booleans become text. A null
// value becomes the text null if nullText, as Eureka has it, and is left out
// else. The key @class is Java's.
func (r *jsonReader) metadata(nullText bool) map[string]string {
	if !r.object() {
		return nil
	}
	m := make(map[string]string)
	for {
		name, ok := r.member()
		if !ok {
			return m
		}
		key := string(name)
		v, given := r.scalar()
		switch {
		case r.err != nil || key == classKey:
		case given:
			m[key] = string(v)
		case nullText:
			m[key] = "null"
		default:
			delete(m, key)
		}
	}
}
