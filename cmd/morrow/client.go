package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// client is what the commands that talk to a broker share: where it is, and how to print.
type client struct {
	bootstrap []string
	output    string
	timeout   time.Duration
}

// bootstrapEnv may name the brokers for those who do not want to say it each time.
const bootstrapEnv = "MORROW_BOOTSTRAP"

func defaultBootstrap() []string {
	if env := os.Getenv(bootstrapEnv); env != "" {
		return strings.Split(env, ",")
	}
	return []string{"127.0.0.1:9092"}
}

// addTo declares the flags on cmd and all its subcommands.
func (c *client) addTo(cmd *cobra.Command) {
	f := cmd.PersistentFlags()
	f.StringSliceVarP(&c.bootstrap, "bootstrap", "b", defaultBootstrap(), "`addresses` of brokers, also as "+bootstrapEnv)
	f.DurationVar(&c.timeout, "timeout", 15*time.Second, "`time` to wait for the broker")
	addOutputFlag(cmd, &c.output)
	_ = cmd.RegisterFlagCompletionFunc("bootstrap", cobra.NoFileCompletions)
	_ = cmd.RegisterFlagCompletionFunc("timeout", cobra.NoFileCompletions)
	cmd.PersistentPreRunE = func(*cobra.Command, []string) error { return c.check() }
}

func (c *client) check() error {
	if len(c.bootstrap) == 0 || slices.Contains(c.bootstrap, "") {
		return fmt.Errorf("invalid value %q for --bootstrap: must be host:port, or several with commas between", strings.Join(c.bootstrap, ","))
	}
	if c.timeout <= 0 {
		return fmt.Errorf("invalid value %q for --timeout: must be a duration above zero, such as 5s", c.timeout)
	}
	return checkOutput(c.output)
}

// cluster is a connection to the brokers.
type cluster struct {
	*kadm.Client
	kgo *kgo.Client
}

// connect makes a connection, which does no I/O before it is used. The caller closes it.
func (c *client) connect(timeout time.Duration) (*cluster, error) {
	cl, err := kgo.NewClient(
		kgo.SeedBrokers(c.bootstrap...),
		kgo.RequestRetries(3),
		kgo.RetryTimeout(timeout),
		kgo.DialTimeout(timeout),
		kgo.RequestTimeoutOverhead(min(max(timeout, 100*time.Millisecond), 15*time.Minute)), // the client's bounds
		kgo.ClientID("morrow-cli"),
	)
	if err != nil {
		return nil, fmt.Errorf("invalid value for --bootstrap: %w", err)
	}
	adm := kadm.NewClient(cl)
	adm.SetTimeoutMillis(int32(timeout.Milliseconds()))
	return &cluster{adm, cl}, nil
}

// command is what a command does with a cluster.
type command func(ctx context.Context, cmd *cobra.Command, cl *cluster, args []string) error

// run makes a command of one that needs a cluster, and bounds the time it takes.
func (c *client) run(do command) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		cl, err := c.connect(c.timeout)
		if err != nil {
			return err
		}
		defer cl.Close()
		ctx, cancel := context.WithTimeout(cmd.Context(), c.timeout)
		defer cancel()
		err = do(ctx, cmd, cl, args)
		var network net.Error
		if late := ctx.Err() != nil || errors.As(err, &network) && network.Timeout(); err != nil && late && cmd.Context().Err() == nil {
			return fmt.Errorf("no answer from %s within %s", strings.Join(c.bootstrap, ","), c.timeout)
		}
		return c.explain(err)
	}
}

// explain says in one line what is wrong between this program and the brokers.
func (c *client) explain(err error) error {
	var op *net.OpError
	var bad *kgo.ErrFirstReadEOF
	var shards *kadm.ShardErrors
	var refused *brokerError
	var code *kerr.Error
	if err == nil {
		return nil
	}
	switch {
	case errors.As(err, &shards):
		return c.explain(shards.Errs[0].Err)
	case errors.As(err, &refused):
		return err
	case errors.As(err, &code):
		return explained(err, "")
	case errors.As(err, &op) && op.Op == "dial":
		said := ""
		if op.Addr != nil && !c.bootstraps(op.Addr.String()) {
			said = " (where " + strings.Join(c.bootstrap, ",") + " says it is)"
		}
		return fmt.Errorf("%w%s", unreachable(op), said)
	case errors.As(err, &bad), strings.HasPrefix(err.Error(), "invalid large response size"):
		return fmt.Errorf("%s does not speak Kafka's protocol, or wants TLS", strings.Join(c.bootstrap, ","))
	}
	return err
}

// unreachable says in one line that nobody answers.
func unreachable(op *net.OpError) error {
	var dns *net.DNSError
	if errors.As(op, &dns) {
		return fmt.Errorf("cannot find %s: %s", dns.Name, dns.Err)
	}
	if op.Addr == nil {
		return op
	}
	reason := op.Err
	if errno := errors.Unwrap(reason); errno != nil {
		reason = errno
	}
	return fmt.Errorf("no broker at %s: %w", op.Addr, reason)
}

// bootstraps reports whether an address is, or may be, one that the user gave.
func (c *client) bootstraps(addr string) bool {
	host, port, _ := net.SplitHostPort(addr)
	return slices.ContainsFunc(c.bootstrap, func(given string) bool {
		h, p, err := net.SplitHostPort(given)
		if err != nil {
			h, p = given, "9092"
		}
		return p == port && (h == host || net.ParseIP(h) == nil)
	})
}

// plainWords are said where a broker gives no reason, in place of Kafka's description of the code.
var plainWords = map[*kerr.Error]string{
	kerr.UnknownTopicOrPartition: "no such topic or partition",
	kerr.GroupIDNotFound:         "no such group",
	kerr.NonEmptyGroup:           "the group has members: stop its consumers first",
	kerr.UnknownMemberID:         "the group has members: stop its consumers first",
	kerr.TransactionalIDNotFound: "no such transactional id",
	kerr.OffsetOutOfRange:        "the offset is beyond the end of the partition",
}

// explained is an error of a broker in its own words, followed by the code; message may be empty.
func explained(err error, message string) error {
	var ke *kerr.Error
	if !errors.As(err, &ke) {
		return err
	}
	if message == "" || message == ke.Description {
		message = plainWords[ke]
	}
	if message == "" {
		message = strings.TrimSuffix(ke.Description, ".")
		message = strings.ToLower(message[:1]) + message[1:]
	}
	return &brokerError{ke, message}
}

// brokerError is what a broker refused.
type brokerError struct {
	code    *kerr.Error
	message string
}

func (e *brokerError) Error() string { return fmt.Sprintf("%s (%s)", e.message, e.code.Message) }
func (e *brokerError) Unwrap() error { return e.code }

// completionTimeout is how long a shell waits for names.
const completionTimeout = time.Second

// complete makes a completion function of one that lists names. Arguments that were given already
// are left out. Whatever goes wrong, there are no names then.
func (c *client) complete(first, last int, list func(context.Context, *cluster) ([]string, error)) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
		if len(args) < first || last >= 0 && len(args) > last {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		cl, err := c.connect(completionTimeout)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		defer cl.Close()
		ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
		defer cancel()
		names, _ := list(ctx, cl)
		names = slices.DeleteFunc(names, func(n string) bool { return !strings.HasPrefix(n, prefix) || slices.Contains(args, n) })
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

func topicNames(ctx context.Context, cl *cluster) ([]string, error) {
	topics, err := cl.ListTopics(ctx)
	return topics.Names(), err
}

func groupNames(ctx context.Context, cl *cluster) ([]string, error) {
	groups, err := cl.ListGroups(ctx)
	return groups.Groups(), err
}

// configArgs parses key=value arguments.
func configArgs(pairs []string) (map[string]*string, error) {
	m := make(map[string]*string, len(pairs))
	for _, p := range pairs {
		k, v, ok := strings.Cut(p, "=")
		if !ok || k == "" {
			return nil, fmt.Errorf("invalid config %q: must be key=value", p)
		}
		if _, twice := m[k]; twice {
			return nil, fmt.Errorf("config %s is given twice", k)
		}
		m[k] = &v
	}
	return m, nil
}
