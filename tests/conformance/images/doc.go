// Package images makes the images that the official tests run, out of Go
// modules and Debian packages: no builder and no registry is asked. An image is
// a tar in OCI layout, under the name that the suite itself has for it.
//
// A recipe (recipe.go) says which programs an image has. Programs of packages
// come with the shared libraries that they are linked with, and nothing else of
// the package; what is compiled is compiled from the suite's own module.
package images
