// Package login has the verbs that make and end logins at registries.
package login

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/client"
	"github.com/moby/term"
	"github.com/spf13/cobra"

	"hoy/internal/cli"
	"hoy/internal/cli/auth"
	"hoy/internal/cli/complete"
)

// Commands gives login and logout.
func Commands(app *cli.App) []*cobra.Command {
	return []*cobra.Command{newLogin(app), newLogout(app)}
}

type loginOptions struct {
	user, password string
	fromStdin      bool
}

func newLogin(app *cli.App) *cobra.Command {
	var opt loginOptions
	cmd := &cobra.Command{
		Use:   "login [OPTIONS] [SERVER]",
		Short: "Authenticate to a registry",
		Long:  "Authenticate to a registry.\nDefaults to Docker Hub if no server is specified.",
		Example: `  hoy login registry.example:5000
  hoy login -u ann --password-stdin registry.example < token`,
		Args:              cli.MaxArgs(1),
		ValidArgsFunction: complete.None,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := opt.check(cmd, app); err != nil {
				return err
			}
			address := ""
			if len(args) > 0 {
				address = args[0]
			}
			return runLogin(cmd, app, opt, auth.Server(address))
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&opt.user, "username", "u", "", "Username")
	flags.StringVarP(&opt.password, "password", "p", "", "Password or Personal Access Token (PAT)")
	flags.BoolVar(&opt.fromStdin, "password-stdin", false, "Take the Password or Personal Access Token (PAT) from stdin")
	return cmd
}

// maxPassword bounds what --password-stdin reads; tokens have some kilobytes.
const maxPassword = 1 << 20

func (o *loginOptions) check(cmd *cobra.Command, app *cli.App) error {
	if cmd.Flags().Changed("password") {
		if o.fromStdin {
			return errors.New("conflicting options: cannot specify both --password and --password-stdin")
		}
		fmt.Fprintln(app.Err, "WARNING! Using --password via the CLI is insecure. Use --password-stdin.")
	}
	if cmd.Flags().Changed("username") && o.user == "" {
		return errors.New("username is empty")
	}
	if cmd.Flags().Changed("password") && o.password == "" {
		return errors.New("password is empty")
	}
	if !o.fromStdin {
		return nil
	}
	if o.user == "" {
		return errors.New("the --password-stdin option requires --username to be set")
	}
	content, err := io.ReadAll(io.LimitReader(app.In, maxPassword))
	if err != nil {
		return fmt.Errorf("read the password: %w", err)
	}
	o.password = strings.TrimRight(string(content), "\r\n")
	if strings.TrimSpace(o.password) == "" {
		return errors.New("password is empty")
	}
	return nil
}

func runLogin(cmd *cobra.Command, app *cli.App, opt loginOptions, server string) error {
	store, err := auth.Open(app.ConfigDir())
	if err != nil {
		return err
	}
	api, err := app.Client()
	if err != nil {
		return err
	}
	login := registry.AuthConfig{ServerAddress: server, Username: opt.user, Password: opt.password}
	if opt.user == "" && opt.password == "" {
		if kept, err := store.Get(server); err == nil && (kept.Password != "" || kept.IdentityToken != "") {
			fmt.Fprintf(app.Out, "Authenticating with existing credentials... [Username: %s]\n", kept.Username)
			fmt.Fprintf(app.Out, "\ni Info → To login with a different account, run 'hoy logout' followed by 'hoy login'\n\n")
			login = kept
			login.ServerAddress = server
			response, err := authenticate(cmd, api, login)
			if err == nil {
				return finishLogin(app, store, login, response)
			}
			if client.IsErrConnectionFailed(err) {
				return err
			}
			fmt.Fprintln(app.Err, "Login did not succeed, error:", err)
			login = registry.AuthConfig{ServerAddress: server}
		}
	}
	if err := prompt(cmd, app, &login, opt.user); err != nil {
		return err
	}
	response, err := authenticate(cmd, api, login)
	if err != nil {
		return err
	}
	return finishLogin(app, store, login, response)
}

func authenticate(cmd *cobra.Command, api client.APIClient, login registry.AuthConfig) (registry.AuthResponse, error) {
	got, err := api.RegistryLogin(cmd.Context(), client.RegistryLoginOptions{
		Username: login.Username, Password: login.Password, ServerAddress: login.ServerAddress, IdentityToken: login.IdentityToken,
	})
	return got.Auth, err
}

func finishLogin(app *cli.App, store *auth.Store, login registry.AuthConfig, response registry.AuthResponse) error {
	if response.IdentityToken != "" {
		login.Password, login.IdentityToken = "", response.IdentityToken
	}
	if err := store.Save(login); err != nil {
		return fmt.Errorf("error saving credentials: %w", err)
	}
	if store.Helper(login.ServerAddress) == "" {
		fmt.Fprintf(app.Err, "\nWARNING! Your credentials are stored unencrypted in '%s'.\n"+
			"Configure a credential helper to remove this warning. See\n"+
			"https://docs.docker.com/go/credential-store/\n\n", store.Path())
	}
	if response.Status != "" {
		fmt.Fprintln(app.Out, response.Status)
	}
	return nil
}

// prompt asks for what is missing; the password without echo.
func prompt(cmd *cobra.Command, app *cli.App, login *registry.AuthConfig, user string) error {
	if login.Username != "" && login.Password != "" {
		return nil
	}
	if !app.In.IsTerminal() {
		return errors.New("Error: Cannot perform an interactive login from a non TTY device") //nolint:staticcheck // users know this sentence
	}
	if user == "" {
		if login.ServerAddress == auth.DefaultServer {
			fmt.Fprintln(app.Out, "Log in with your Docker ID or email address to push and pull images from Docker Hub.")
		}
		fmt.Fprint(app.Out, "Username: ")
		line, err := answer(cmd, app)
		if err != nil {
			return err
		}
		if login.Username = strings.TrimSpace(line); login.Username == "" {
			return errors.New("Error: Non-null Username Required") //nolint:staticcheck // users know this sentence
		}
	}
	if login.Password != "" {
		return nil
	}
	password, err := hidden(cmd, app, "Password: ")
	if err != nil {
		return err
	}
	if login.Password = password; password == "" {
		return errors.New("Error: Password Required") //nolint:staticcheck // users know this sentence
	}
	return nil
}

// exitInterrupted is what shells give for a program that Ctrl-C ended.
const exitInterrupted = 130

// hidden asks a question whose answer is not echoed, from before the question
// appears. A signal does not leave the terminal without echo.
func hidden(cmd *cobra.Command, app *cli.App, question string) (string, error) {
	state, err := term.SaveState(app.In.FD())
	if err == nil {
		err = term.DisableEcho(app.In.FD(), state)
	}
	if err != nil {
		return "", fmt.Errorf("turn off the terminal's echo: %w", err)
	}
	defer func() { _ = term.RestoreTerminal(app.In.FD(), state) }()
	fmt.Fprint(app.Out, question)
	text, err := answer(cmd, app)
	fmt.Fprintln(app.Out)
	return text, err
}

// answer waits for a person's line or for a signal that ends the verb. The end
// of the input is an empty line.
func answer(cmd *cobra.Command, app *cli.App) (string, error) {
	type result struct {
		text string
		err  error
	}
	got := make(chan result, 1)
	go func() {
		text, err := bufio.NewReader(io.LimitReader(app.In, maxPassword)).ReadString('\n')
		if errors.Is(err, io.EOF) {
			err = nil
		}
		got <- result{strings.TrimRight(text, "\r\n"), err}
	}()
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	select {
	case r := <-got:
		return r.text, r.err
	case <-ctx.Done():
		return "", cli.Exit(exitInterrupted)
	}
}

func newLogout(app *cli.App) *cobra.Command {
	return &cobra.Command{
		Use:               "logout [SERVER]",
		Short:             "Log out from a registry",
		Long:              "Log out from a registry.\nDefaults to Docker Hub if no server is specified.",
		Example:           `  hoy logout registry.example:5000`,
		Args:              cli.MaxArgs(1),
		ValidArgsFunction: complete.None,
		RunE: func(_ *cobra.Command, args []string) error {
			address := ""
			if len(args) > 0 {
				address = args[0]
			}
			server := auth.Server(address)
			store, err := auth.Open(app.ConfigDir())
			if err != nil {
				return err
			}
			fmt.Fprintln(app.Out, "Removing login credentials for", server)
			if _, err := store.Erase(server); err != nil {
				return fmt.Errorf("could not erase credentials of %s: %w", server, err)
			}
			return nil
		},
	}
}
