package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/morrowmq/morrow/broker/rest"
)

// apiClient asks one of the APIs on a broker's HTTP address.
type apiClient struct {
	base    string // path of the API
	http    string
	timeout time.Duration // 0: none
}

// httpEnv may name the broker for those who do not want to say it each time.
const httpEnv = "MORROW_HTTP"

// addHTTPFlag declares where the broker is.
func (c *apiClient) addHTTPFlag(cmd *cobra.Command) {
	addr := cmp.Or(os.Getenv(httpEnv), "127.0.0.1:9644")
	cmd.PersistentFlags().StringVar(&c.http, "http", addr, "HTTP `address` of a broker, also as "+httpEnv)
	_ = cmd.RegisterFlagCompletionFunc("http", cobra.NoFileCompletions)
}

// address is what --http names: host:port, or a URL of it.
func (c *apiClient) address() (string, error) {
	addr := strings.TrimSuffix(strings.TrimPrefix(c.http, "http://"), "/")
	if _, port, err := net.SplitHostPort(addr); err != nil || port == "" || strings.Contains(addr, "/") {
		return "", fmt.Errorf("invalid value %q for --http: must be host:port", c.http)
	}
	return addr, nil
}

// get asks for what the path names below the API.
func (c *apiClient) get(ctx context.Context, answer any, q url.Values, path ...string) error {
	return c.do(ctx, http.MethodGet, answer, nil, q, path...)
}

// do sends a request with a JSON body, if that is not nil, and reads the answer. A refusal is a *rest.Error.
func (c *apiClient) do(ctx context.Context, method string, answer, body any, q url.Values, path ...string) error {
	if c.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.timeout)
		defer cancel()
	}
	var sent bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&sent).Encode(body); err != nil {
			return err
		}
	}
	addr, err := c.address()
	if err != nil {
		return err
	}
	u := url.URL{Scheme: "http", Host: addr, RawQuery: q.Encode()}
	req, err := http.NewRequestWithContext(ctx, method, u.JoinPath(append([]string{c.base}, escaped(path)...)...).String(), &sent)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return c.explain(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		refused := &rest.Error{Status: resp.StatusCode}
		if err := json.Unmarshal(data, refused); err != nil || refused.Code == "" {
			refused.Message = fmt.Sprintf("%s answered %s", c.http, resp.Status)
		}
		return refused
	}
	if err := json.Unmarshal(data, answer); err != nil {
		return fmt.Errorf("%s is no broker: it answered what is not JSON", c.http)
	}
	return nil
}

// explain says in one line what is wrong between this program and the broker.
func (c *apiClient) explain(err error) error {
	var op *net.OpError
	var network net.Error
	switch {
	case errors.As(err, &network) && network.Timeout():
		return fmt.Errorf("no answer from %s within %s", c.http, c.timeout)
	case errors.As(err, &op) && op.Op == "dial":
		return unreachable(op)
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), strings.Contains(err.Error(), "malformed HTTP"):
		return fmt.Errorf("%s does not speak HTTP", c.http)
	}
	return err
}

func escaped(path []string) []string {
	out := make([]string, len(path))
	for i, p := range path {
		out[i] = url.PathEscape(p)
	}
	return out
}
