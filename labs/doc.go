// Package labs has scenarios: clusters that stand ready for something to be
// tried in them.
//
// There is one noun: a [Lab], a folder with a lab.yaml that says how many nodes
// there are and which manifests are applied. Authors write no Go: a new folder
// is a new lab. Start at [Catalog]; lessons name the lab that they begin in,
// and "klab up --lab NAME" starts one.
package labs
