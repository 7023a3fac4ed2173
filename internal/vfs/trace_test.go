package vfs

import "testing"

func TestTrace(t *testing.T) {
	fault := NewFault(NewMem())
	fsys := NewTrace(fault, "/data")
	must(t, fsys.MkdirAll("/data/d"))
	must(t, WriteFile(fsys, "/data/d/f", []byte("content")))
	f, err := fsys.Open("/data/d/f")
	must(t, err)
	must(t, f.Truncate(3))
	fault.Add(Rule{Ops: OpSync})
	if f.Sync() == nil {
		t.Error("sync did not fail")
	}
	must(t, f.Close())
	must(t, fsys.Link("/data/d/f", "/data/d/g"))
	must(t, fsys.RemoveAll("/data/d"))
	must(t, fsys.SyncDir("/data"))

	const want = `mkdir d
remove d/f.tmp: remove /data/d/f.tmp: no such file or directory
create d/f.tmp
write d/f.tmp 0+7
sync d/f.tmp
rename d/f.tmp d/f
syncdir d
truncate d/f 3
sync d/f: sync /data/d/f: input/output error
link d/f d/g
remove d
syncdir .
`
	if got := fsys.Take(); got != want {
		t.Errorf("got:\n%swant:\n%s", got, want)
	}
	if got := fsys.Take(); got != "" {
		t.Errorf("taken twice: %q", got)
	}
}
