package record

// Load makes v the view of one encoded record that was kept as its [View.Raw]; baseTimestamp is that of the
// batch it came from. The view aliases raw, and its Index is 0. Errors wrap ErrInvalid.
func (v *View) Load(raw []byte, baseTimestamp int64) error {
	*v = View{base: baseTimestamp}
	next, err := v.parse(raw, 0)
	if err == nil && next != len(raw) {
		err = errLength
	}
	if err != nil {
		return malformed(0, err)
	}
	return nil
}
