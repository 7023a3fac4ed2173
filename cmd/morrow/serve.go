package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/morrowmq/morrow/broker"
	"github.com/morrowmq/morrow/cluster/config"
	"github.com/morrowmq/morrow/internal/vfs"
)

// serveFlags are the configs that have a flag of their own, by the flag's name.
var serveFlags = []struct{ flag, key, usage string }{
	{"data-dir", "log.dir", "`directory` of all data (default ./data)"},
	{"listen", "listeners", "`addresses` for Kafka clients (default PLAINTEXT://127.0.0.1:9092)"},
	{"advertise", "advertised.listeners", "`addresses` that clients are told (default: those of --listen)"},
	{"http", "http.listen", "`address` of the console, metrics, health and profiles; empty for none (default 127.0.0.1:9644)"},
	{"log-level", "log.level", "least severe `level` to log: debug, info, warn or error (default info)"},
	{"log-format", "log.format", "`format` of the log: text or json (default text)"},
}

func newServe() *cobra.Command {
	var file string
	var pairs []string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Start a broker",
		Long: `Start a broker. It needs no configuration: Kafka clients connect to 127.0.0.1:9092, the
data is in ./data, and console, metrics and health are at http://127.0.0.1:9644.

Every config that "morrow config docs" explains can be set; the first of these that has it
wins:

  a flag              --log-level debug, --set log.retention.hours=24
  the environment     MORROW_LOG_RETENTION_HOURS=24: the name in capitals, with _ for . and -
  the config file     log.retention.hours: 24 in YAML, JSON or TOML, flat or nested, or
                      log.retention.hours=24 in a properties file

What "morrow config set broker" changed later wins over all of them. A config that is unknown,
or a value that is refused, keeps the broker from starting.

The broker ends at SIGTERM or SIGINT: it answers what it has accepted, and makes what it
has stored durable. A second signal ends it at once; nothing acknowledged is lost then either.`,
		Example: `  morrow serve
  morrow serve --data-dir /var/lib/morrow --listen PLAINTEXT://0.0.0.0:9092 --advertise PLAINTEXT://broker1.example.com:9092
  morrow serve --config morrow.yaml
  morrow serve --set tier.url=s3://bucket/morrow --set remote.log.storage.system.enable=true
  MORROW_LOG_RETENTION_HOURS=24 morrow serve --log-format json`,
		Args: wantArgs(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			flags, err := serveValues(cmd, pairs)
			if err != nil {
				return err
			}
			values, err := loadConfig(cmp.Or(file, os.Getenv(configEnv)), os.Environ(), flags)
			if err != nil {
				return err
			}
			return broker.Run(cmd.Context(), broker.Config{
				Values:  values,
				FS:      vfs.OS{},
				Logger:  newLogger(cmd.ErrOrStderr(), values),
				Version: buildVersion().Version,
			})
		},
	}
	addServeFlags(cmd, &file, &pairs)
	return cmd
}

func addServeFlags(cmd *cobra.Command, file *string, pairs *[]string) {
	cmd.Flags().StringVarP(file, "config", "c", "", "`file` with configs, .yaml, .json, .toml or .properties; also as "+configEnv)
	cmd.Flags().StringArrayVar(pairs, "set", nil, "config as `key=value`, may be repeated")
	complete := map[string]cobra.CompletionFunc{
		"config": cobra.FixedCompletions([]string{"yaml", "yml", "json", "toml", "properties"}, cobra.ShellCompDirectiveFilterFileExt),
		"set":    completeAssignment(brokerScope),
	}
	for _, f := range serveFlags {
		cmd.Flags().String(f.flag, "", f.usage)
		complete[f.flag] = cobra.NoFileCompletions
	}
	complete["data-dir"] = cobra.FixedCompletions(nil, cobra.ShellCompDirectiveFilterDirs)
	complete["log-level"] = cobra.FixedCompletions([]string{"debug", "info", "warn", "error"}, cobra.ShellCompDirectiveNoFileComp)
	complete["log-format"] = cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp)
	completeFlags(cmd, complete)
}

// serveValues are the configs that flags set.
func serveValues(cmd *cobra.Command, pairs []string) (config.Values, error) {
	set, err := configArgs(pairs)
	if err != nil {
		return nil, fmt.Errorf("--set: %w", err)
	}
	values := config.Values{}
	for k, v := range set {
		values[k] = *v
	}
	var errs []error
	for _, f := range serveFlags {
		fl := cmd.Flags().Lookup(f.flag)
		if !fl.Changed {
			continue
		}
		if _, twice := values[f.key]; twice {
			errs = append(errs, fmt.Errorf("--%s and --set %s set the same config", f.flag, f.key))
		}
		values[f.key] = fl.Value.String()
	}
	return values, errors.Join(errs...)
}

// newLogger writes to w as log.level and log.format, already validated, say.
func newLogger(w io.Writer, values config.Values) *slog.Logger {
	r := config.ResolveBroker(config.Layers{Static: values})
	var level slog.Level
	if err := level.UnmarshalText([]byte(r.String("log.level"))); err != nil {
		panic(fmt.Sprintf("log.level passed validation and is %q", r.String("log.level")))
	}
	o := &slog.HandlerOptions{Level: level}
	if r.String("log.format") == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}
