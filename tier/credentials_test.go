package tier_test

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/tier"
	"github.com/morrowmq/morrow/tier/bucket"
	"github.com/morrowmq/morrow/tier/bucket/buckettest"
)

// TestSessionTokenExpires: that of a broker that runs. What is wrong is said in words; when there is
// another one in the credentials file, uploads go on without a restart. (Scenario 65)
func TestSessionTokenExpires(t *testing.T) {
	file := filepath.Join(t.TempDir(), "credentials")
	write := func(token string) {
		keys := "[default]\naws_access_key_id = k\naws_secret_access_key = s\naws_session_token = " + token + "\n"
		if err := vfs.WriteFile(vfs.OS{}, file, []byte(keys)); err != nil {
			t.Fatal(err)
		}
	}
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_SESSION_TOKEN": "", "AWS_PROFILE": "",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": file,
	} {
		t.Setenv(name, value)
	}
	write("monday")
	store := buckettest.NewServer(buckettest.Honest)
	server := httptest.NewServer(store)
	defer server.Close()
	b, err := bucket.Open(t.Context(), "s3://b/p?endpoint="+server.URL, vfs.NewMem())
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t) // in real time
	var ahead atomic.Int64
	w.option = func(o *tier.Options) {
		o.Bucket, o.Now = b, func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	}
	w.log.fill(2)
	w.start()
	defer w.stop()
	until := func(what string, holds func() bool) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: %s", what, w.p.Status().Err)
			}
		}
	}
	until("the token is good", func() bool { return w.p.Confirmed() == w.log.end })
	store.Expire("monday")
	before := w.p.Confirmed()
	w.log.fill(2)
	w.p.Notify()
	until("it has expired", func() bool { return len(w.tier.Alarms()) == 1 })
	if a := w.tier.Alarms()[0]; a.Name != "store_failing" || w.p.Confirmed() != before ||
		!strings.Contains(a.Text, "access denied by the store: ExpiredToken: said the store (HTTP 400) (check the credentials, their expiry") {
		t.Errorf("confirmed up to %d of %d: %s", w.p.Confirmed(), before, a.Text)
	}
	write("tuesday")
	ahead.Store(int64(30 * time.Second)) // it is tried again by then
	other := orders
	other.Partition++
	if _, err := w.tier.Partition(other, newFakeLog(t), 0, w.current); err != nil { // has the workers look at the time
		t.Fatal(err)
	}
	until("there is another one", func() bool { return w.p.Confirmed() == w.log.end })
	if a := w.tier.Alarms(); len(a) != 0 {
		t.Errorf("afterwards: %v", a)
	}
}
