package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/registryd/registryd/eureka"
)

// FuzzImport reads anything as an export. What it takes, it writes and reads again as the same.
func FuzzImport(f *testing.F) {
	good := string(eureka.Form{}.AppendInstance(nil, order("o-1", 90)))
	for _, seed := range []string{
		"", "{}", `{"instance":` + good + `}`, `{"instance":` + good + `,"override":"DOWN"}`,
		`{"registryd_export":1,"instances":1}` + "\n" + `{"instance":` + good + `}`, `{"registryd_export":2}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		lines, err := readExport(bytes.NewReader(in))
		if err != nil {
			return
		}
		var all []*eureka.InstanceInfo
		for _, l := range lines {
			l.info.OverriddenStatus = eureka.StatusUnknown
			if l.override != "" {
				l.info.OverriddenStatus = l.override
			}
			all = append(all, l.info)
		}
		var out bytes.Buffer
		if err := writeExport(&out, exportHead{Format: exportFormat, Time: time.Unix(0, 0), Instances: len(all)}, all); err != nil {
			t.Fatal(err)
		}
		again, err := readExport(&out)
		if err != nil || len(again) != len(lines) {
			t.Fatalf("%q: read again as %d lines, %v, want %d", in, len(again), err, len(lines))
		}
		for i := range lines {
			if again[i].name() != lines[i].name() {
				t.Fatalf("%q: read again as %s, want %s", in, again[i].name(), lines[i].name())
			}
		}
	})
}
