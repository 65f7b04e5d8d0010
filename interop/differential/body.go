package differential

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// member is a member of an object, as it is written.
type member struct {
	key, value string
	how        how
	class      string // if how is not same
	plain      string // what Java gets instead; empty: the member is left out
}

// how is how the two take a member.
type how uint8

const (
	same     how = iota
	refuses      // Java refuses it, registryd takes it
	misreads     // Java reads it otherwise
	strict       // registryd refuses it, Java reads something
)

// instanceBody is the body of a registration before it is written.
type instanceBody struct {
	members []member
	about   act
}

// write writes the members as JSON, and how Java gets them, into a request, which wrap makes a
// whole body of.
func (r *request) write(members []member, wrap func(object string) string) {
	r.body = wrap(object(members, same))
	r.forJava = wrap(object(members, misreads))
	r.plain = wrap(object(members, misreads, refuses))
	for _, m := range members {
		switch m.how {
		case refuses:
			r.refused = m.class
		case misreads:
			r.misread = m.class
		case strict:
			r.strict = true
		case same:
		}
	}
}

// object writes members as JSON. Those that Java takes in one of these ways are written
// as it gets them.
func object(members []member, forJava ...how) string {
	var parts []string
	for _, m := range members {
		value := m.value
		if m.how != same && slices.Contains(forJava, m.how) {
			if value = m.plain; value == "" {
				continue
			}
		}
		parts = append(parts, strconv.Quote(m.key)+":"+value)
	}
	return "{" + strings.Join(parts, ",") + "}"
}

// json draws an instance as JSON. odd: it may hold what only few clients send, or none.
func (g *generator) json(t target, odd bool) instanceBody {
	b := instanceBody{about: t.about(registers)}
	put := func(m member) {
		if i := slices.IndexFunc(b.members, func(o member) bool { return strings.EqualFold(o.key, m.key) && m.key != "hostname" }); i >= 0 {
			b.members[i] = m // what a member that is there twice means, no client should ask
			return
		}
		b.members = append(b.members, m)
	}
	add := func(percent int, key string, values ...string) {
		if g.chance(percent) {
			put(member{key: key, value: pick(g, values...)})
		}
	}
	as := func(percent int, how how, class, key, plain string, values ...string) {
		if g.chance(percent) {
			put(member{key: key, value: pick(g, values...), how: how, class: class, plain: plain})
		}
	}
	rare := func(percent int) int { // of odd bodies only
		if odd {
			return percent
		}
		return 0
	}
	id := strconv.Quote(t.id)
	if g.chance(100 - rare(10)) {
		b.members = append(b.members, member{key: "instanceId", value: id})
		add(100-rare(4), "hostName", `"host.example"`)
	} else {
		add(rare(20), "instanceId", `""`, "null")
		add(95, "hostName", id)
	}
	switch {
	case g.chance(100 - rare(15)):
		b.members = append(b.members, member{key: "app", value: strconv.Quote(pick(g, t.app, t.app, upper(t.app), strings.ToLower(t.app)))})
	default:
		add(80, "app", `"OTHER"`, `""`, `" `+t.app+`"`, "null", "7")
	}
	add(100-rare(4), "ipAddr", `"192.0.2.7"`)
	add(rare(10), "ipAddr", `""`, "null", "7")
	add(20, "sid", `"na"`, `"sid-1"`, `"unknown"`)
	add(90, "status", `"UP"`, `"UP"`, `"UP"`, `"DOWN"`, `"STARTING"`, `"OUT_OF_SERVICE"`, `"UNKNOWN"`)
	add(rare(10), "status", `"up"`, `"WEIRD"`, "null", "1", `""`)
	add(25, pick(g, "overriddenstatus", "overriddenStatus"), `"UNKNOWN"`, `"UNKNOWN"`, `"OUT_OF_SERVICE"`, `"UP"`, `""`, `"DOWN"`)
	add(rare(10), pick(g, "overriddenstatus", "overriddenStatus"), `"WEIRD"`, "null", "1", `"down"`)
	b.members = g.port(b.members, "port", odd)
	b.members = g.port(b.members, "securePort", odd)
	add(50, "countryId", "1", `"2"`)
	add(rare(6), "countryId", "null", "1.5", "99999999999")
	as(rare(6), misreads, "default-for-text", "countryId", "", `"x"`, `""`, `" "`)
	b.members = g.dataCenter(b.members, t, odd)
	add(60, "leaseInfo", `{"renewalIntervalInSecs":30,"durationInSecs":90}`, `{"renewalIntervalInSecs":10,"durationInSecs":120,"registrationTimestamp":0,"lastRenewalTimestamp":0,"evictionTimestamp":0,"serviceUpTimestamp":0}`,
		`{"renewalIntervalInSecs":"7","durationInSecs":"600","registrationTimestamp":"1700000000000","serviceUpTimestamp":1700000000000}`)
	add(rare(15), "leaseInfo", "null", "{}", `{"durationInSecs":0}`, `{"durationInSecs":-5,"renewalIntervalInSecs":-1}`, `{"x":1,"durationInSecs":77}`, `{"durationInSecs":null}`, `{"durationInSecs":99.5}`, `{"durationInSecs":86401}`, `{"durationInSecs":99999999999}`)
	as(rare(4), strict, "wrong-type", "leaseInfo", "", "7", `"x"`, `{"durationInSecs":"x"}`, `{"renewalIntervalInSecs":true}`, `{"registrationTimestamp":{}}`)
	add(70, "metadata", "{}", `{"zone":"a"}`, `{"zone":"b","version":"1"}`, `{"@class":"java.util.Collections$EmptyMap"}`, `{"@class":"","zone":"c"}`)
	add(rare(25), "metadata", "null", `{"n":1,"b":true,"f":1.50}`, `{"zone":null}`, `{"a b":"1","1x":"2","a/b":"3"}`, `{"_":"u","$":"d","__":"uu"}`, `{"ü":"€","-":"m"}`, `{"x:y":"c"}`, `{"zone":"a","zone":"b"}`, `{"a<b":"<&>\"'"}`, "{"+idInMetadata+"}", `{"nl":"a\nb\tc"}`, `{"big":12345678901234567890,"e":1e3}`, `{"sur":"\ud83d\ude00"}`)
	as(rare(4), strict, "wrong-type", "metadata", "", `"x"`, `{"zone":{"a":"b"}}`, `{"zone":["a"]}`)
	as(rare(4), strict, "wrong-type", pick(g, "sid", "overriddenstatus", "countryId", "homePageUrl", "lastUpdatedTimestamp", "asgName"), "", `{}`, `{"a":1}`)
	for _, key := range []string{"appGroupName", "homePageUrl", "statusPageUrl", "healthCheckUrl", "secureHealthCheckUrl", "asgName"} {
		add(12, key, strconv.Quote("http://h.example/?a=1&b=<"+key+">"), `"x"`, `"Mixed"`)
		add(rare(4), key, "null", `""`, "7", "true")
	}
	for _, key := range []string{"vipAddress", "secureVipAddress"} {
		add(50, key, strconv.Quote(g.vips[0]), strconv.Quote(g.vips[1]), strconv.Quote(g.vips[0]+","+g.vips[1]), strconv.Quote(g.vips[2]))
		add(rare(8), key, "null", `""`, strconv.Quote(g.vips[0]+", "+g.vips[1]), `","`, strconv.Quote(g.vips[0]+",,"), strconv.Quote(" "+g.vips[0]))
	}
	add(30, "isCoordinatingDiscoveryServer", "false", `"true"`, `"false"`, "true", "null")
	add(40, "lastUpdatedTimestamp", `"1700000000000"`, "1700000000000", "0", `"x"`)
	if g.chance(85) {
		b.about.dirty = g.dirty()
		text := fmt.Sprint(b.about.dirty)
		b.members = append(b.members, member{key: "lastDirtyTimestamp", value: pick(g, text, strconv.Quote(text))})
	}
	add(rare(6), "lastDirtyTimestamp", "null", "0", "1.5", "-5", `"-5"`, "99999999999999999999")
	as(rare(4), misreads, "default-for-text", "lastDirtyTimestamp", "", `"x"`, `""`, "true")
	if i := slices.IndexFunc(b.members, func(m member) bool { return m.key == "lastDirtyTimestamp" }); i >= 0 && b.members[i].how != same || b.about.dirty != 0 && !strings.Contains(b.members[max(i, 0)].value, fmt.Sprint(b.about.dirty)) {
		b.about.dirty = unclear
	}
	add(20, "actionType", `"ADDED"`, `"DELETED"`, "null", `"x"`, `"MODIFIED"`)
	add(rare(8), "hostname", `"x"`, "1", "null")
	add(rare(8), "unknown", "1", `"x"`, "null", "true")
	as(rare(8), misreads, "unknown-array", "unknown", "", `[{"a":1}]`, `[1,2]`, `[]`, `[[1],["status"]]`)
	as(rare(8), misreads, "unknown-object", "unknown", "", `{}`, `{"a":{"b":1}}`, `{"status":"DOWN","hostName":"x"}`)
	if odd && g.chance(30) {
		g.rand.Shuffle(len(b.members), func(i, j int) { b.members[i], b.members[j] = b.members[j], b.members[i] })
	}
	return b
}

func (g *generator) port(members []member, key string, odd bool) []member {
	switch {
	case !odd || g.chance(60):
		if g.chance(15) {
			return members
		}
		return append(members, member{key: key, value: pick(g, `{"$":8080,"@enabled":"true"}`, `{"$":"8443","@enabled":"false"}`, `{"@enabled":true,"$":8080}`, `{"$":80,"@enabled":false}`)})
	case g.chance(30):
		return append(members, member{key: key, value: pick(g, "{}", "null", `{"$":8080}`, `{"@enabled":"true"}`, `{"$":-1}`, `{"$":70000}`, `{"$":99999999999}`, `{"$":1.5}`, `{"@enabled":"yes"}`, `{"@enabled":1}`, "[]")})
	case g.chance(30):
		return append(members, member{key: key, value: pick(g, `{"$":"x"}`, `{"$":true}`, `{"$":{}}`, `{"@enabled":{}}`), how: strict, class: "wrong-type"})
	case g.chance(30):
		return append(members, member{key: key, value: pick(g, `{"$":null}`, `{"$":""}`), how: misreads, class: "default-for-text", plain: "{}"})
	case g.chance(30):
		return append(members, member{key: key, value: `{"@enabled":"TRUE","$":1}`, how: misreads, class: "enabled-in-any-case", plain: `{"@enabled":"true","$":1}`})
	default:
		m := member{key: key, how: refuses, class: "lenient-port"}
		m.value, m.plain = "8081", `{"$":8081}`
		if g.chance(50) {
			m.value, m.plain = `{"$":8082,"x":1,"@enabled":"true"}`, `{"$":8082,"@enabled":"true"}`
		}
		return append(members, m)
	}
}

// idInMetadata is what old Spring clients send beside the instance's id.
const idInMetadata = `"instanceId":"other"`

const (
	myOwn  = `"@class":"com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo","name":"MyOwn"`
	amazon = `"@class":"com.netflix.appinfo.AmazonInfo","name":"Amazon"`
)

func (g *generator) dataCenter(members []member, t target, odd bool) []member {
	m := member{key: "dataCenterInfo"}
	switch {
	case !odd && g.chance(85) || g.chance(50):
		m.value = "{" + myOwn + "}"
	case !odd || g.chance(40):
		m.value = "{" + amazon + "," + pick(g,
			`"metadata":{"instance-id":`+strconv.Quote(t.id)+`,"public-ipv4":"192.0.2.1","ami-id":"ami-1","availability-zone":"z"}`,
			`"metadata":{"public-hostname":"h","local-ipv4":"192.0.2.2"}`, `"metadata":{}`) + "}"
	case g.chance(50):
		m.value = pick(g, "null", `[]`, `"MyOwn"`, `7`,
			`{"@class":"com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo"}`, `{"@class":"com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo","name":null}`,
			`{"@class":"com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo","name":"Netflix"}`,
			`{"@class":"com.netflix.appinfo.AmazonInfo","name":"MyOwn","metadata":{}}`, `{"name":"MyOwn","@class":"com.netflix.appinfo.MyDataCenterInfo"}`,
			`{"@class":"com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo","name":"Else"}`)
		if g.chance(10) {
			return members
		}
	case g.chance(15):
		m.how, m.class, m.plain = misreads, "amazon-in-name-only", "{"+amazon+`,"metadata":{}}`
		m.value = `{"@class":"com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo","name":"Amazon"}`
	case g.chance(10):
		m.how, m.value = strict, "{"+amazon+"}"
	case g.chance(15):
		m.how, m.class, m.plain = misreads, "amazon-without-metadata", "{"+amazon+`,"metadata":{}}`
		m.value = pick(g, "{"+amazon+`,"metadata":null}`, "{"+amazon+`,"metadata":""}`, `{"metadata":7,`+amazon+"}")
	case g.chance(20):
		m.how, m.class, m.plain = refuses, "lenient-data-center", `{"@class":"com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo"}`
		m.value = pick(g, `{}`, `{"a":1}`, `{"@class":"com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo","name":""}`)
	default:
		m.how, m.class, m.plain = refuses, "lenient-data-center", "{"+myOwn+"}"
		m.value = pick(g, `{"name":"MyOwn"}`, `{"@class":"x.Y","name":"MyOwn"}`, `{"@class":"com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo","name":"myown"}`, `{`+myOwn+`,"x":1}`, `{`+myOwn+`,"metadata":{"a":"b"}}`)
	}
	return append(members, m)
}

// register draws a registration.
func (g *generator) register() *request {
	t := g.instance()
	r := g.at(http.MethodPost, "apps", t.app)
	replica := g.replicated(r)
	if g.chance(25) {
		g.registerXML(r, t)
	} else {
		g.registerJSON(r, t)
	}
	if len(r.about) > 0 {
		r.about[0].replica = replica
	}
	return r
}

func (g *generator) registerJSON(r *request, t target) {
	b := g.json(t, g.chance(35))
	r.about = []act{b.about}
	r.write(b.members, func(object string) string { return `{"instance":` + object + `}` })
	contentType := "application/json"
	switch {
	case g.chance(90):
	case g.chance(50):
		contentType = pick(g, "application/json;charset=UTF-8", "application/json; charset=utf-8", "Application/JSON", "application/json;charset=ISO-8859-1", `application/json;charset="utf-8"`)
	default:
		contentType = pick(g, "", "text/plain", "application/vnd.x+json", "application/json;charset=UTF-16", "application/xml", "text/json", "application/*", "json", "application/json;x", "application/json, application/xml")
	}
	if contentType != "" {
		r.header = append(r.header, field{"Content-Type", contentType})
	}
	if g.chance(8) {
		r.body, r.refused, r.misread = g.broken(r.plain), "", ""
		r.plain = r.body
	}
	if g.chance(4) {
		r.gzip, r.refused = true, "gzip-body"
	}
}

// broken makes a body of one that a client might send and no server take.
func (g *generator) broken(body string) string {
	inner := strings.TrimSuffix(strings.TrimPrefix(body, `{"instance":`), "}")
	return pick(g, "", "null", "{}", "[]", "7", `"x"`, `{"instance":null}`, `{"instance":"x"}`, inner, `{"Instance":`+inner+`}`,
		`{"instance":`+inner+`,"x":1}`, `{"x":1,"instance":`+inner+`}`, body[:len(body)/2], body[:len(body)-1], body+"x", body+body, body+" ", "\ufeff"+body,
		strings.ReplaceAll(body, `"`, `'`), strings.Replace(body, ",", ",,", 1), strings.Replace(body, "{", "{/**/", 1), strings.Replace(body, `"hostName":"`, "\"hostName\":\"\xff", 1),
		strings.Replace(body, `:"`, ":\"a\nb", 1), strings.Replace(body, `"}`, `",}`, 1), "<instance/>")
}

// batch draws a peer's batch.
func (g *generator) batch() *request {
	r := g.at(http.MethodPost, "peerreplication", "batch")
	r.header = append(r.header, field{"Content-Type", "application/json"})
	var items []string
	for range 1 + g.rand.IntN(4) {
		item, a := g.item()
		items, r.about = append(items, item), append(r.about, a)
	}
	r.body = `{"replicationList":[` + strings.Join(items, ",") + `]}`
	if g.chance(10) {
		r.body = pick(g, "{}", "", "null", "[]", `{"replicationList":null}`, `{"replicationList":[]}`, `{"replicationList":{}}`, `{"replicationList":[null]}`, `{"replicationList":[{}]}`, r.body+"x", r.body[:len(r.body)-1],
			strings.Replace(r.body, `{"appName`, `{"x":1,"appName`, 1), strings.Replace(r.body, `"action":"`, `"action":"x`, 1), strings.Replace(r.body, `{"rep`, `{"x":1,"rep`, 1), strings.Replace(r.body, `"appName"`, `"appname"`, 1))
	}
	return r
}

func (g *generator) item() (string, act) {
	t := g.instance()
	action := pick(g, "Heartbeat", "Heartbeat", "Heartbeat", "Register", "Register", "Cancel", "StatusUpdate", "DeleteStatusOverride")
	kinds := map[string]kind{"Heartbeat": renews, "Register": registers, "Cancel": cancels, "StatusUpdate": setsStatus, "DeleteStatusOverride": deletesStatus}
	a := t.about(kinds[action])
	a.replica = true
	members := []member{{key: "appName", value: strconv.Quote(pick(g, upper(t.app), upper(t.app), t.app))}, {key: "id", value: strconv.Quote(t.id)}}
	add := func(percent int, key string, values ...string) {
		if g.chance(percent) {
			members = append(members, member{key: key, value: pick(g, values...)})
		}
	}
	if action != "Cancel" && g.chance(92) {
		a.dirty = g.dirty()
		members = append(members, member{key: "lastDirtyTimestamp", value: fmt.Sprint(a.dirty)})
	}
	switch action {
	case "Heartbeat":
		if g.chance(15) {
			a.status = pick(g, statuses...)
			members = append(members, member{key: "overriddenStatus", value: strconv.Quote(a.status)})
		}
		add(80, "status", `"UP"`, `"DOWN"`)
	case "Register":
		if g.chance(95) {
			b := g.json(t, false)
			a.dirty = b.about.dirty
			members = append(members, member{key: "instanceInfo", value: object(b.members)})
		}
		add(80, "status", `"UP"`)
	case "StatusUpdate", "DeleteStatusOverride":
		if g.chance(92) {
			a.status = pick(g, statuses...)
			members = append(members, member{key: "status", value: strconv.Quote(a.status)})
		}
	}
	if g.chance(97) {
		members = append(members, member{key: "action", value: strconv.Quote(action)})
	} else {
		add(70, "action", "null", strconv.Quote(strings.ToLower(action)), "0", `""`)
	}
	return object(members), a
}
