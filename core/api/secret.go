package api

import (
	"context"
	"crypto/tls"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/kubernetes/pkg/apis/core"
	corevalidation "k8s.io/kubernetes/pkg/apis/core/validation"
)

// Source: k8s.io/kubernetes/pkg/registry/core/secret.
func secrets() *Resource {
	r := coreResource("Secret", "secrets", "secret")
	r.Rules = rules[*core.Secret]{
		prepareForUpdate: func(s, old *core.Secret) {
			if s.Type == "" {
				s.Type = old.Type // a client that leaves it out means the same
			}
		},
		validate:         corevalidation.ValidateSecret,
		validateUpdate:   corevalidation.ValidateSecretUpdate,
		warningsOnCreate: func(_ context.Context, s *core.Secret) []string { return secretWarnings(s) },
		warningsOnUpdate: func(_ context.Context, s, _ *core.Secret) []string { return secretWarnings(s) },
	}.untyped()
	r.fields = func(obj runtime.Object) fields.Set {
		return fields.Set{"type": string(obj.(*core.Secret).Type)}
	}
	return r
}

// secretWarnings tell of a certificate and a key that do not belong together.
func secretWarnings(s *core.Secret) []string {
	if s.Type != core.SecretTypeTLS {
		return nil
	}
	if _, err := tls.X509KeyPair(s.Data[core.TLSCertKey], s.Data[core.TLSPrivateKeyKey]); err != nil {
		return []string{err.Error()}
	}
	return nil
}
