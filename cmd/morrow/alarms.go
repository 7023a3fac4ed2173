package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/morrowmq/morrow/broker/alarms"
)

func newAlarms() *cobra.Command {
	c := apiClient{base: "api/v1/alarms"}
	var output string
	cmd := &cobra.Command{
		Use:   "alarms",
		Short: "Show what a person should look at now",
		Long: `Show what a person should look at now. An alarm lasts as long as what it tells of.

The broker's HTTP address is asked. With -o json this prints what the HTTP API answers, as
docs/openapi.yaml describes it.`,
		Example: "  morrow alarms",
		Args:    wantArgs(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkOutput(output); err != nil {
				return err
			}
			var a alarms.Alarms
			if err := c.get(cmd.Context(), &a, nil); err != nil {
				return err
			}
			return printAs(cmd.OutOrStdout(), output, a, func(w io.Writer) { printAlarms(w, a.Alarms) })
		},
	}
	c.addHTTPFlag(cmd)
	cmd.Flags().DurationVar(&c.timeout, "timeout", 10*time.Second, "`time` to wait for an answer")
	addOutputFlag(cmd, &output)
	return cmd
}

func printAlarms(w io.Writer, all []alarms.Alarm) {
	if len(all) == 0 {
		fmt.Fprintln(w, "no alarms")
		return
	}
	row(w, "ALARM", "SUBJECT", "TEXT")
	for _, a := range all {
		row(w, a.Name, a.Subject, a.Text)
	}
}
