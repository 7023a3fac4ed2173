package bucket_test

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/tier/bucket"
)

// TestWrongAddressIsToldInWords: of a store whose certificate is not trusted, or of something that
// is no store.
func TestWrongAddressIsToldInWords(t *testing.T) {
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_CA_BUNDLE": "",
	} {
		t.Setenv(name, value)
	}
	private := httptest.NewUnstartedServer(http.NotFoundHandler())
	private.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	private.StartTLS()
	t.Cleanup(private.Close)
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusMethodNotAllowed)
		_, _ = io.WriteString(w, "<html><body>Welcome!")
	}))
	t.Cleanup(page.Close)
	const noStore = "an answer that is none of an S3 store (HTTP "
	for endpoint, want := range map[string]string{
		private.URL: private.URL + ": its certificate is of an authority that is not trusted here; if it is a private one, have AWS_CA_BUNDLE name a file with the authority's certificate",
		"http" + strings.TrimPrefix(private.URL, "https"): noStore + "400)",
		page.URL: noStore + "405)",
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel() // each is tried several times
			b, err := bucket.Open(t.Context(), "s3://b/p?endpoint="+endpoint, vfs.NewMem())
			if err != nil {
				t.Fatal(err)
			}
			_, err = b.Put(t.Context(), "k", bucket.BytesBody(b.Checksum(), []byte("x")), bucket.PutOptions{})
			if want := "put k: store is not configured correctly: " + want; !errors.Is(err, bucket.ErrConfig) || !strings.HasPrefix(err.Error(), want) {
				t.Errorf("%v, want %q", err, want)
			}
		})
	}
}

// TestUnreadableSettingsAreNamed: with where they come from, beside the file that is not there.
func TestUnreadableSettingsAreNamed(t *testing.T) {
	t.Setenv("AWS_CA_BUNDLE", "/no/such.pem")
	_, err := bucket.Open(t.Context(), "s3://b/p?endpoint=https://127.0.0.1:1", vfs.NewMem())
	if err == nil || !strings.Contains(err.Error(), "what the environment and the shared files say of AWS: open /no/such.pem: ") {
		t.Error(err)
	}
}
