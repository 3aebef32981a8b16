// Package cli is what every verb of the command line stands on: the streams,
// the connection to the daemon, the root command, usage and help texts, exit
// codes and the prompt for a confirmation.
//
// A verb is a constructor `func(*App) *cobra.Command`. It asks [App.Client] for
// the API client when it runs and never before, so that help, completion and
// usage errors need no daemon. It returns its errors: [Main] prints them once,
// explains a missing daemon, and turns them into the exit code.
package cli
