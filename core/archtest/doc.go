// Package archtest has no code, only tests of the whole repository: who may
// import whom, what stays small, and that every package says what it is.
//
// Start at layers in imports_test.go: it is the architecture as a table.
package archtest
