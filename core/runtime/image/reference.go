package image

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
)

// repository is <name> of the OCI distribution specification.
var repository = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)

// Parse resolves a reference like docker does: "nginx" means
// docker.io/library/nginx:latest.
func Parse(ref string, insecure func(host string) bool) (name.Reference, error) {
	parsed, err := name.ParseReference(ref)
	if err != nil || strings.HasPrefix(ref, "/") || !repository.MatchString(parsed.Context().RepositoryStr()) {
		return nil, fmt.Errorf("%w: couldn't parse image name %q: invalid reference format", ErrInvalidName, ref)
	}
	if insecure != nil && insecure(parsed.Context().RegistryStr()) {
		return name.ParseReference(ref, name.Insecure)
	}
	return parsed, nil
}

// display writes a reference with docker's own registry under its usual name.
func display(s string) string {
	if rest, ok := strings.CutPrefix(s, name.DefaultRegistry+"/"); ok {
		return "docker.io/" + rest
	}
	return s
}
