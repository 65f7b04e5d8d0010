package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const configDoc = "../../docs/configuration.md"

// TestConfigurationDoc checks docs/configuration.md against the flags of serve. `make docs`
// writes it anew.
func TestConfigurationDoc(t *testing.T) {
	var serve *cobra.Command
	for c := range commands((&program{out: io.Discard, err: io.Discard}).root()) {
		if c.CommandPath() == "registryd serve" {
			serve = c
		}
	}
	var doc bytes.Buffer
	fmt.Fprintf(&doc, "# Configuration\n\nWritten by `make docs` from the program; a test fails when it is out of date.\n\n"+
		"A setting is a flag of `registryd serve`, a variable in the environment, and a key of the `--config` file, which is YAML. The flag\n"+
		"wins over the variable, the variable over the file, the file over the default:\n\n"+
		"    registryd --batch-delay 250ms\n    REGISTRYD_BATCH_DELAY=250ms registryd\n"+
		"    echo 'batch-delay: 250ms' > registryd.yaml && registryd --config registryd.yaml\n\n"+
		"Durations have a unit (`500ms`, `30s`, `1h`). Numbers are plain decimals (`1000`): `010`, `0x10` and `1e3` are refused. Several values are separated by commas, or are a list in the file.\n"+
		"`registryd config check --config FILE` tells all that is wrong with settings. `registryd config show` tells what a node would run\n"+
		"with, and where each setting is from.\n\n"+
		"*Reload* marks what a running node takes over on SIGHUP. All else needs a restart, and the log says so. Files with certificates,\n"+
		"credentials and logins are reread when they change, without a signal.\n")
	var titles []string
	rows := map[string]string{} // by title
	serve.Flags().VisitAll(func(f *pflag.Flag) {
		named := f.Annotations[groupAnnotation]
		switch {
		case f.Name == "help" || f.Name == "config":
			return
		case len(named) == 0:
			t.Errorf("--%s is in no group", f.Name)
			return
		case rows[named[0]] == "":
			titles = append(titles, named[0])
		}
		usage := f.Usage
		if reloads(f.Name) {
			usage = "*Reload.* " + usage
		}
		kind := strings.Join(f.Annotations[kindAnnotation], "")
		if kind == "" && f.Value.Type() == "bool" {
			kind = "true or false"
		}
		rows[named[0]] += fmt.Sprintf("| `%s` | %s | %s | %s | %s |\n", f.Name, kind,
			strings.Join(f.Annotations[boundAnnotation], ""), code(f.DefValue), escaped(usage))
	})
	for _, title := range titles {
		fmt.Fprintf(&doc, "\n## %s\n\n| setting | value | bound | default | |\n| --- | --- | --- | --- | --- |\n%s", title, rows[title])
	}
	checkDoc(t, configDoc, doc.Bytes())
}

func code(text string) string {
	if text == "" {
		return ""
	}
	return "`" + text + "`"
}

func escaped(text string) string { return strings.ReplaceAll(text, "|", `\|`) }
