package differential

import (
	"fmt"
	"slices"
	"strings"
)

func xmlText(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(s)
}

// elementName is the name of an element. Both spellings of one are the same.
func elementName(element string) string {
	name := element[1:strings.IndexAny(element, " />")]
	if name == "overriddenStatus" {
		return "overriddenstatus"
	}
	return name
}

// registerXML draws a registration in XML.
func (g *generator) registerXML(r *request, t target) {
	odd := g.chance(35)
	var parts []string
	instead := map[string]string{}  // of parts that Java refuses
	misreads := map[string]string{} // of parts that it reads otherwise
	add := func(percent int, values ...string) {
		if !g.chance(percent) {
			return
		}
		part := pick(g, values...)
		if i := slices.IndexFunc(parts, func(p string) bool { return elementName(p) == elementName(part) }); i >= 0 {
			parts[i] = part // what an element that is there twice means, no client should ask
			return
		}
		parts = append(parts, part)
	}
	rare := func(percent int) int {
		if odd {
			return percent
		}
		return 0
	}
	// lenient adds what Java refuses. plain is what Java gets instead.
	lenient := func(percent int, class, plain string, values ...string) {
		if g.chance(percent) {
			value := pick(g, values...)
			add(100, value)
			r.refused, instead[value] = class, plain
		}
	}
	misread := func(percent int, class, plain string, values ...string) {
		if g.chance(percent) {
			value := pick(g, values...)
			add(100, value)
			r.misread, misreads[value] = class, plain
		}
	}
	element := func(name, value string) string { return "<" + name + ">" + xmlText(value) + "</" + name + ">" }
	a := t.about(registers)
	if g.chance(100 - rare(10)) {
		add(100, element("instanceId", t.id))
		add(100-rare(5), element("hostName", "host.example"))
	} else {
		add(90, element("hostName", t.id))
	}
	add(100-rare(8), element("app", t.app), element("app", upper(t.app)), element("app", strings.ToLower(t.app)))
	add(rare(5), "<app/>", element("app", "OTHER"))
	add(100-rare(5), "<ipAddr>192.0.2.7</ipAddr>")
	add(20, "<sid>na</sid>", "<sid>sid-1</sid>")
	add(90, "<status>UP</status>", "<status>UP</status>", "<status>DOWN</status>", "<status>STARTING</status>", "<status>OUT_OF_SERVICE</status>", "<status>UNKNOWN</status>")
	add(rare(10), "<status>up</status>", "<status>WEIRD</status>", "<status/>")
	misread(rare(5), "blanks-in-xml", "<status>UP</status>", "<status> UP </status>")
	add(20, "<overriddenstatus>UNKNOWN</overriddenstatus>", "<overriddenstatus>OUT_OF_SERVICE</overriddenstatus>", "<overriddenstatus>DOWN</overriddenstatus>")
	add(rare(10), "<overriddenStatus>DOWN</overriddenStatus>", "<overriddenstatus/>", "<overriddenstatus>x</overriddenstatus>")
	add(80, `<port enabled="true">8080</port>`, `<port enabled="false">80</port>`, `<port>81</port>`)
	add(80, `<securePort enabled="true">8443</securePort>`, `<securePort enabled="false">443</securePort>`, `<securePort>444</securePort>`)
	add(rare(10), `<port>-1</port>`, `<port>x</port>`)
	misread(rare(5), "enabled-in-any-case", `<port enabled="false">8080</port>`, `<port enabled="x">8080</port>`)
	misread(rare(5), "enabled-in-any-case", `<port enabled="true">8080</port>`, `<port enabled="TRUE">8080</port>`)
	lenient(rare(5), "text-for-number", "<port>7001</port>", "<port/>")
	lenient(rare(5), "text-for-number", "<port>82</port>", "<port> 82 </port>")
	add(50, "<countryId>1</countryId>", "<countryId>2</countryId>")
	lenient(rare(8), "text-for-number", "<countryId>1</countryId>", "<countryId>x</countryId>", "<countryId/>")
	switch {
	case g.chance(80 - rare(20)):
		add(100, `<dataCenterInfo class="com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo"><name>MyOwn</name></dataCenterInfo>`)
	case g.chance(60):
		add(100, `<dataCenterInfo class="com.netflix.appinfo.AmazonInfo"><name>Amazon</name><metadata><instance-id>`+xmlText(t.id)+`</instance-id><ami-id>a</ami-id></metadata></dataCenterInfo>`,
			`<dataCenterInfo class="com.netflix.appinfo.AmazonInfo"><name>Amazon</name><metadata><local-ipv4>192.0.2.1</local-ipv4></metadata></dataCenterInfo>`)
	case odd && g.chance(20):
		lenient(100, "lenient-data-center", `<dataCenterInfo><name>MyOwn</name></dataCenterInfo>`, `<dataCenterInfo><name>myown</name></dataCenterInfo>`)
	case odd:
		add(90, `<dataCenterInfo><name>MyOwn</name></dataCenterInfo>`, `<dataCenterInfo class="x"><name>MyOwn</name></dataCenterInfo>`,
			`<dataCenterInfo/>`, `<dataCenterInfo><name>Else</name></dataCenterInfo>`, `<dataCenterInfo><name>amazon</name></dataCenterInfo>`, `<dataCenterInfo><name>Netflix</name></dataCenterInfo>`, `<dataCenterInfo><name>MyOwn</name><x>1</x></dataCenterInfo>`)
	default:
		add(100, `<dataCenterInfo class="com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo"><name>MyOwn</name></dataCenterInfo>`)
	}
	add(60, `<leaseInfo><renewalIntervalInSecs>30</renewalIntervalInSecs><durationInSecs>90</durationInSecs></leaseInfo>`, `<leaseInfo><renewalIntervalInSecs>10</renewalIntervalInSecs><durationInSecs>120</durationInSecs><registrationTimestamp>0</registrationTimestamp></leaseInfo>`)
	add(rare(10), "<leaseInfo/>", "<leaseInfo><durationInSecs>0</durationInSecs></leaseInfo>", "<leaseInfo><x>1</x></leaseInfo>")
	if g.chance(rare(4)) {
		r.strict = true
		add(100, "<leaseInfo><durationInSecs>x</durationInSecs></leaseInfo>")
	}
	add(70, "<metadata/>", "<metadata><zone>a</zone></metadata>", "<metadata><zone>b</zone><version>1</version></metadata>", `<metadata class="java.util.Collections$EmptyMap"/>`)
	add(rare(25), "<metadata><a_.0020b>1</a_.0020b></metadata>", "<metadata><a__b>1</a__b><c_-d>2</c_-d></metadata>", "<metadata><zone/></metadata>", "<metadata><zone> a </zone></metadata>", "<metadata><zone>&lt;&amp;&gt;</zone></metadata>", "<metadata><zone><![CDATA[<a>]]></zone></metadata>", "<metadata><ü>€</ü></metadata>", "<metadata>x</metadata>", "<metadata><zone>a</zone><zone>b</zone></metadata>", "<metadata><!-- c --><zone>a</zone></metadata>", "<metadata><a_b>1</a_b></metadata>", "<metadata><zone>a\nb</zone></metadata>")
	if g.chance(rare(4)) {
		r.strict = true
		add(100, "<metadata><zone><x>1</x></zone></metadata>")
	}
	for _, name := range []string{"appGroupName", "homePageUrl", "statusPageUrl", "healthCheckUrl", "secureHealthCheckUrl", "asgName"} {
		add(12, element(name, "http://h.example/?a=1&b=2"), element(name, "Mixed"))
		add(rare(4), "<"+name+"/>")
	}
	for _, name := range []string{"vipAddress", "secureVipAddress"} {
		add(50, element(name, g.vips[0]), element(name, g.vips[1]), element(name, g.vips[0]+","+g.vips[1]), element(name, g.vips[2]))
		add(rare(5), "<"+name+"/>")
	}
	add(30, "<isCoordinatingDiscoveryServer>false</isCoordinatingDiscoveryServer>", "<isCoordinatingDiscoveryServer>true</isCoordinatingDiscoveryServer>")
	add(30, "<lastUpdatedTimestamp>1700000000000</lastUpdatedTimestamp>")
	if g.chance(85) {
		a.dirty = g.dirty()
		add(100, element("lastDirtyTimestamp", fmt.Sprint(a.dirty)))
	}
	add(rare(5), "<lastDirtyTimestamp>x</lastDirtyTimestamp>", "<lastDirtyTimestamp/>")
	add(20, "<actionType>ADDED</actionType>", "<actionType>DELETED</actionType>", "<actionType>x</actionType>")
	add(rare(15), "<unknown>1</unknown>", "<unknown><status>DOWN</status></unknown>", "<hostname>x</hostname>", "<unknown a='b'/>")
	if odd && g.chance(30) {
		g.rand.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
	}
	space := pick(g, "", "", "\n  ")
	whole := func(replace map[string]string) string {
		for i, part := range parts {
			if plain, ok := replace[part]; ok {
				parts[i] = plain
			}
		}
		return "<instance>" + space + strings.Join(parts, space) + space + "</instance>"
	}
	body := whole(nil)
	r.forJava = whole(misreads)
	r.plain = whole(instead)
	switch {
	case g.chance(90):
	case g.chance(50):
		body = pick(g, `<?xml version="1.0"?>`, `<?xml version="1.0" encoding="UTF-8"?>`, "\ufeff", "<!-- c -->", "\n") + body
	default:
		r.refused, r.misread, r.strict = "", "", false
		body = pick(g, "", "<instance/>", "<Instance></Instance>", "<x>"+body+"</x>", body[:len(body)-1], body[:len(body)/2], body+body, body+"x", "{}", "null", "<instance>", "<instance></instance", "&", strings.Replace(body, "<hostName>", "<hostName>&x;", 1), strings.Replace(body, "</hostName>", "</hostname>", 1), `<!DOCTYPE instance [<!ENTITY e "x">]>`+body)
	}
	r.body, r.about = body, []act{a}
	if contentType := pick(g, "application/xml", "application/xml", "application/xml", "application/xml", "application/xml", "application/xml;charset=UTF-8", "text/xml"); contentType != "" {
		r.header = append(r.header, field{"Content-Type", contentType})
	}
}
