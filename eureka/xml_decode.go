package eureka

import (
	"encoding/xml"
	"strings"
)

func decodeXMLInstance(body []byte) (*InstanceInfo, error) {
	r := newXMLReader(body)
	var i *InstanceInfo
	if err := r.root("instance", func() { i = r.instance(true) }); err != nil {
		return nil, err
	}
	return i, nil
}

func decodeXMLApplications(body []byte) (Applications, error) {
	r := newXMLReader(body)
	a := Applications{Version: noVersion}
	if err := r.root("applications", func() { r.applications(&a) }); err != nil {
		return Applications{}, err
	}
	return a, nil
}

func decodeXMLApplication(body []byte) (Application, error) {
	r := newXMLReader(body)
	var a Application
	if err := r.root("application", func() { a = r.application() }); err != nil {
		return Application{}, err
	}
	return a, nil
}

func (r *xmlReader) applications(a *Applications) {
	for e, ok := r.child(); ok; e, ok = r.child() {
		switch rawName(e.Name) {
		case "versions__delta":
			if a.Version = r.text(); a.Version == "" {
				a.Version = noVersion
			}
		case "apps__hashcode":
			a.HashCode = r.text()
		case "application":
			a.Applications = append(a.Applications, r.application())
		default:
			r.skip()
		}
	}
}

func (r *xmlReader) application() Application {
	var a Application
	for e, ok := r.child(); ok; e, ok = r.child() {
		switch rawName(e.Name) {
		case "name":
			a.Name = r.text()
		case "instance":
			a.Instances = append(a.Instances, r.instance(false))
		default:
			r.skip()
		}
	}
	nameInstances(&a)
	return a
}

// instance reads the instance whose element was entered. Without an app it is
// refused if needApp.
func (r *xmlReader) instance(needApp bool) *InstanceInfo {
	i, hasApp := newInstance(), false
	for e, ok := r.child(); ok; e, ok = r.child() {
		switch rawName(e.Name) {
		case "instanceId":
			i.InstanceID = new(r.text())
		case "hostName":
			i.HostName = r.text()
		case "app":
			i.App, hasApp = Upper(r.text()), true
		case "ipAddr":
			i.IPAddr = r.text()
		case "sid":
			i.SID = knownSID(r.text())
		case "status":
			i.Status = r.status()
		case "overriddenstatus", "overriddenStatus":
			i.OverriddenStatus = r.status()
		case "port":
			i.Port = r.port(e, Port{Number: DefaultPort, Enabled: true})
		case "securePort":
			i.SecurePort = r.port(e, Port{Number: DefaultSecurePort})
		case "countryId":
			i.CountryID = r.narrow(r.unread(DefaultCountryID), DefaultCountryID)
		case "dataCenterInfo":
			i.DataCenterInfo = r.dataCenter()
		case "leaseInfo":
			i.LeaseInfo = r.lease()
		case "metadata":
			i.Metadata = r.metadata()
			if len(i.Metadata) == 0 {
				i.Metadata = nil
			}
		case "appGroupName":
			i.AppGroupName = new(Upper(r.text()))
		case "homePageUrl":
			i.HomePageURL = new(r.text())
		case "statusPageUrl":
			i.StatusPageURL = new(r.text())
		case "healthCheckUrl":
			i.HealthCheckURL = new(r.text())
		case "secureHealthCheckUrl":
			i.SecureHealthCheckURL = new(r.text())
		case "vipAddress":
			i.VIPAddress = new(r.text())
		case "secureVipAddress":
			i.SecureVIPAddress = new(r.text())
		case "isCoordinatingDiscoveryServer":
			i.IsCoordinatingDiscoveryServer = parseBool([]byte(r.text()), false)
		case "lastUpdatedTimestamp":
			i.LastUpdatedTimestamp = r.unread(0)
		case "lastDirtyTimestamp":
			i.LastDirtyTimestamp = r.unread(NoTimestamp)
		case "actionType":
			i.ActionType = parseActionType(r.text())
		case "asgName":
			i.ASGName = new(r.text())
		default:
			r.skip()
		}
	}
	if needApp && !hasApp {
		r.fail(errNoApp)
	}
	return i
}

// status reads a status. Unlike in JSON its case doesn't matter.
func (r *xmlReader) status() Status {
	return statusOf([]byte(strings.ToUpper(strings.TrimSpace(r.text()))))
}

// port reads the port whose element was entered.
func (r *xmlReader) port(e xml.StartElement, def Port) Port {
	p := def
	for _, a := range e.Attr {
		if rawName(a.Name) == "enabled" {
			p.Enabled = parseBool([]byte(a.Value), false)
		}
	}
	p.Number = r.small(def.Number)
	return p
}

func (r *xmlReader) lease() LeaseInfo {
	l := newLease()
	for e, ok := r.child(); ok; e, ok = r.child() {
		switch rawName(e.Name) {
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

// dataCenter reads a data centre. Its kind follows from its name; Eureka
// ignores the class here, and one without a name counts as missing.
func (r *xmlReader) dataCenter() DataCenterInfo {
	name, named := "", false
	var metadata map[string]string
	for e, ok := r.child(); ok; e, ok = r.child() {
		switch rawName(e.Name) {
		case "name":
			name, named = strings.TrimSpace(r.text()), true
		case "metadata":
			metadata = r.metadata()
		default:
			r.skip()
		}
	}
	if r.err != nil || !named {
		return DataCenterInfo{}
	}
	d, err := dataCenter("", name, metadata)
	if err != nil {
		r.fail(err)
	}
	return d
}

// metadata reads an element for each entry. The key @class is Java's.
func (r *xmlReader) metadata() map[string]string {
	m := make(map[string]string)
	for e, ok := r.child(); ok; e, ok = r.child() {
		key, value := xmlKey(rawName(e.Name)), r.text()
		if key != classKey {
			m[key] = value
		}
	}
	return m
}
