// Package compat runs Morrow against the clients people have: one suite per client, each a small program in the
// client's own language, all doing the same checks.
//
// A suite is a directory with
//
//	install    makes the client available, prints what it installs, does nothing when that has been done
//	run        does every check of checks_test.go and prints one JSON line per check
//	allow      the checks that may have another result than pass, each with its reason
//	README.md  what the client is, how its version is pinned, what is particular about its suite
//	FINDINGS.md  what the checks taught about client or broker
//
// Both scripts work alone; run needs COMPAT_BOOTSTRAP (host:port of a broker) and COMPAT_PREFIX (in
// front of every topic and group it makes, so that suites can share a broker).
//
// The directories in judges hold suites that others wrote: the tests of client libraries, the tools
// of Kafka, an application of Kafka Streams; and one that compares with Kafka itself. They have the
// same files; there allow names every test of the suite with what is expected of it, pass, fail or
// na (not applicable), and the reason if that is not pass, and run does those in COMPAT_TESTS. A
// subtest that it names, as TestA/sub, is judged apart from its test, or in its place if that is
// not named. A judge gets a broker of its own, with the flags in its file broker if it has one;
// COMPAT_DATA is its directory and COMPAT_MORROW the program. The file broker beside this one has
// the flags of the broker that the other suites share.
//
// `make compat` starts the brokers, runs all suites against them and writes README.md, the report
// card. A suite with a check that is wrong is run a second time, which counts for that check. The
// tests that do so have the build tag compat, because they need the network to install clients; the
// rest of the package tests the machinery. With COMPAT_BOOTSTRAP set the suites run
// against that broker instead and no report card is written.
package compat
