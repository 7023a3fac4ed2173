package record

import "hash/crc32"

// crcShifts[k] is x^(8·2^k) modulo the polynomial of CRC-32C: what a checksum is multiplied by when
// 2^k zero bytes follow. Polynomials are stored as crc32 does, x^0 in the highest bit.
var crcShifts = func() (shifts [31]uint32) {
	shifts[0] = 1 << 31 >> 8
	for k := 1; k < len(shifts); k++ {
		shifts[k] = crcProduct(shifts[k-1], shifts[k-1])
	}
	return shifts
}()

// crcProduct multiplies two polynomials modulo that of CRC-32C.
func crcProduct(a, b uint32) (product uint32) {
	for ; a != 0; a <<= 1 {
		// All ones if the coefficient is one: what follows has no branches to guess wrong.
		product ^= b & -(a >> 31)
		b = b>>1 ^ crc32.Castagnoli&-(b&1)
	}
	return product
}

// shiftCRC is the difference between two checksums, of contents that differ as they do followed by
// n equal bytes: a CRC is linear, so what follows need not be read again.
func shiftCRC(difference uint32, n int) uint32 {
	for k := 0; n > 0; k, n = k+1, n>>1 {
		if n&1 != 0 {
			difference = crcProduct(difference, crcShifts[k])
		}
	}
	return difference
}
