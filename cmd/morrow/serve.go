package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/morrowmq/morrow/broker"
	"github.com/morrowmq/morrow/cluster/config"
	"github.com/morrowmq/morrow/internal/vfs"
)

// serveFlags are the settings that have a flag of their own, by the flag's name.
var serveFlags = []struct{ flag, key, usage string }{
	{"data-dir", "log.dir", "directory of all data (default ./data)"},
	{"listen", "listeners", "addresses for Kafka clients (default PLAINTEXT://127.0.0.1:9092)"},
	{"advertise", "advertised.listeners", "addresses that clients are told (default: those listened on)"},
	{"http", "http.listen", "address of metrics, health and profiles; empty for none (default 127.0.0.1:9644)"},
	{"log-level", "log.level", "debug, info, warn or error (default info)"},
	{"log-format", "log.format", "text or json (default text)"},
}

func newServe() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Start a broker",
		Long: `Start a broker. It needs no configuration.

Every broker config of Kafka that Morrow has can be set, by its Kafka name, in a YAML or
properties file (--config), and in the environment as MORROW_ and the name in capitals
with _ for . and -: MORROW_LOG_RETENTION_HOURS. Flags win over the environment, and that
over the file. Configs altered at run time win over all three.`,
		Example: `  morrow serve
  morrow serve --data-dir /var/lib/morrow --listen PLAINTEXT://0.0.0.0:9092 --advertise PLAINTEXT://broker1.example.com:9092
  morrow serve --config morrow.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			flags := config.Values{}
			for _, f := range serveFlags {
				if fl := cmd.Flags().Lookup(f.flag); fl.Changed {
					flags[f.key] = fl.Value.String()
				}
			}
			values, err := loadConfig(file, os.Environ(), flags)
			if err != nil {
				return err
			}
			logger := newLogger(cmd.ErrOrStderr(), values)
			return broker.Run(cmd.Context(), broker.Config{
				Values:  values,
				FS:      vfs.OS{},
				Logger:  logger,
				Version: buildVersion().Version,
			})
		},
	}
	cmd.Flags().StringVarP(&file, "config", "c", "", "YAML or properties file with broker configs")
	for _, f := range serveFlags {
		cmd.Flags().String(f.flag, "", f.usage)
	}
	return cmd
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
