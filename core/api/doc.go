// Package api is the table of resources that klab serves, and the rules of
// their objects. Defaulting, conversion, validation and printing are
// Kubernetes' own packages; this one only puts them in reach and in order.
//
// The nouns are Resource, Subresource and Rules. Start at Resources.
//
// An object that a client sends is a body in a version and a format. Decode
// makes an internal object of it, with defaults, and internal is what all rules
// work on: PrepareForCreate and ValidateCreate, PrepareForUpdate and
// ValidateUpdate, PrepareForDelete. Encode makes bytes of it again, in the
// version of a Resource; EncodeStored and DecodeStored are the same for the
// store, which has JSON.
package api
