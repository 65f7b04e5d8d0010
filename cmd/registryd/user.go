package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/registryd/registryd/access"
	"github.com/registryd/registryd/internal/plain"
)

func (p *program) userCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "user", Short: "the logins of a file that serve is given as --logins: add, remove, list",
		Long: "Nodes notice a changed file within seconds.",
		Example: `  registryd user add orders --logins logins --role client --apps ORDERS --token
  registryd user add boss --logins logins --role admin < password
  registryd user list --logins logins`,
	}
	list := p.userListCommand()
	c.Flags().AddFlagSet(list.Flags())
	c.Args = func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		return unknownCommand(args[0], c)
	}
	c.RunE = func(_ *cobra.Command, args []string) error { return list.RunE(list, args) }
	c.AddCommand(p.userAddCommand(), p.userRemoveCommand(), p.userListCommand())
	return c
}

// addLogins adds the flag that names the file.
func addLogins(c *cobra.Command) func() (string, error) {
	file := c.Flags().String("logins", "", "`FILE` of logins")
	return func() (string, error) {
		if *file == "" {
			return "", usagef("user %s: --logins FILE is missing", c.Name())
		}
		return *file, nil
	}
}

// oneName refuses all but one argument.
func oneName(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return usagef("user %s: the name of the login is missing", c.Name())
	}
	return atMost(1)(c, args)
}

func (p *program) userAddCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "add NAME", Short: "add a login; its password is read from the terminal or standard input", Args: oneName,
		Example: `  registryd user add orders --logins logins --role client --apps ORDERS --token
  registryd user add boss --logins logins --role admin < password`,
	}
	file := addLogins(c)
	fs := c.Flags()
	role := fs.String("role", "", "`ROLE` of the login: read, client or admin; each may what the one before may")
	apps := fs.String("apps", "", "`NAMES` of its own applications, for role client, separated by commas")
	token := fs.Bool("token", false, "make a random token instead of asking for a password, and print it")
	cert := fs.String("cert", "",
		"`SUBJECT` of a client certificate instead of a password: its common name, a DNS name, a URI or an address")
	replace := fs.Bool("replace", false, "replace the login of that name, if there is one")
	asJSON := addJSON(c)
	complete(c, "role", "read", "client", "admin")
	c.RunE = func(c *cobra.Command, args []string) error {
		file, err := file()
		if err != nil {
			return err
		}
		var wrong faults
		wrong.add(access.CheckName(args[0]))
		_, err = access.ParseRole(*role)
		wrong.add(err)
		if *cert != "" && *token {
			wrong.addf("--token and --cert: one of them")
		}
		if err := wrong.err(); err != nil {
			return err
		}
		entry := access.Entry{Name: args[0], Role: *role, Apps: list(*apps), Cert: *cert}
		switch {
		case *token:
			entry.Token = access.NewToken()
		case *cert == "":
			password, err := p.readPassword(c.Context())
			if err != nil {
				return err
			}
			if entry.Hash, err = access.HashPassword(password); err != nil {
				return usagef("%w", err)
			}
		}
		if err := access.Add(file, entry, *replace); err != nil {
			return usageOf(err)
		}
		switch {
		case *asJSON:
			return p.json(map[string]string{"name": entry.Name, "token": entry.Token})
		case *token:
			fmt.Fprintln(p.out, entry.Token)
		}
		return nil
	}
	return c
}

func (p *program) userRemoveCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "remove NAME", Short: "remove a login", Args: oneName,
		Example: `  registryd user remove orders --logins logins`,
	}
	file := addLogins(c)
	asJSON := addJSON(c)
	c.RunE = func(_ *cobra.Command, args []string) error {
		file, err := file()
		if err != nil {
			return err
		}
		if err := access.Remove(file, args[0]); err != nil || !*asJSON {
			return usageOf(err)
		}
		return p.json(map[string]string{"removed": args[0]})
	}
	return c
}

func (p *program) userListCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "list", Short: "show all logins, without their secrets", Args: noArgs,
		Example: `  registryd user list --logins logins`,
	}
	file := addLogins(c)
	asJSON := addJSON(c)
	c.RunE = func(*cobra.Command, []string) error {
		file, err := file()
		if err != nil {
			return err
		}
		logins, err := access.List(file)
		if err != nil {
			return usageOf(err)
		}
		if *asJSON {
			return p.json(logins)
		}
		return p.printLogins(logins)
	}
	return c
}

// usageOf marks an error of a file of logins as one of usage, unless the file could not be
// read or written.
func usageOf(err error) error {
	if _, ok := errors.AsType[*os.PathError](err); err == nil || ok {
		return err
	}
	return usagef("%w", err)
}

func (p *program) printLogins(logins []access.Summary) error {
	table := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tROLE\tSECRETS\tAPPLICATIONS")
	for _, l := range logins {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", cell(l.Name), l.Role,
			cell(strings.Join(l.Secrets, ",")), plain.Text(strings.Join(l.Apps, ",")))
	}
	return table.Flush()
}

// readPassword reads a password: at a terminal twice and without showing it, else the first
// line.
func (p *program) readPassword(ctx context.Context) (string, error) {
	f, ok := p.in.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		line, err := stoppable(ctx, func() (string, error) {
			return bufio.NewReader(io.LimitReader(p.in, maxSecret)).ReadString('\n')
		})
		if err != nil && !errors.Is(err, io.EOF) {
			return "", fmt.Errorf("password: %w", err)
		}
		return strings.TrimRight(line, "\r\n"), nil
	}
	shown, err := term.GetState(int(f.Fd()))
	if err != nil {
		return "", fmt.Errorf("password: %w", err)
	}
	var typed [2]string
	for i, ask := range []string{"password: ", "again: "} {
		fmt.Fprint(p.err, ask)
		text, err := stoppable(ctx, func() ([]byte, error) { return term.ReadPassword(int(f.Fd())) })
		fmt.Fprintln(p.err)
		if ctx.Err() != nil {
			return "", cmp.Or(term.Restore(int(f.Fd()), shown), ctx.Err()) // the reader still hides what is typed
		}
		if err != nil {
			return "", fmt.Errorf("password: %w", err)
		}
		typed[i] = string(text)
	}
	if typed[0] != typed[1] {
		return "", usagef("the passwords differ")
	}
	return typed[0], nil
}
