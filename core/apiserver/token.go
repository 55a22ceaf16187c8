package apiserver

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"
)

// DefaultIssuer is who tokens say that they are from.
const DefaultIssuer = "https://kubernetes.default.svc.cluster.local"

// claims are what a service account's token says, as RFC 7519 and Kubernetes
// name it.
type claims struct {
	Audience   []string   `json:"aud"`
	Expires    int64      `json:"exp"` // seconds since 1970, as the next two
	Issued     int64      `json:"iat"`
	Issuer     string     `json:"iss"`
	ID         string     `json:"jti,omitempty"`
	Kubernetes kubernetes `json:"kubernetes.io"`
	NotBefore  int64      `json:"nbf"`
	Subject    string     `json:"sub"`
}

// kubernetes are the objects that a token belongs to: it is worth nothing when
// one of them is gone.
type kubernetes struct {
	Namespace      string    `json:"namespace,omitempty"`
	Node           *boundRef `json:"node,omitempty"`
	Pod            *boundRef `json:"pod,omitempty"`
	Secret         *boundRef `json:"secret,omitempty"`
	ServiceAccount boundRef  `json:"serviceaccount"`
	WarnAfter      int64     `json:"warnafter,omitempty"`
}

type boundRef struct {
	Name string `json:"name,omitempty"`
	UID  string `json:"uid,omitempty"`
}

// signer makes tokens and knows its own again: JWTs signed with ES256.
type signer struct {
	key    *ecdsa.PrivateKey
	id     string
	issuer string
}

var base64url = base64.RawURLEncoding

// newSigner makes a key if there is none; then tokens are good for as long as
// the process lives.
func newSigner(key *ecdsa.PrivateKey, issuer string) (*signer, error) {
	if key == nil {
		var err error
		if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return nil, err
		}
	}
	if key.Curve != elliptic.P256() {
		return nil, errors.New("the key of service account tokens must be of the curve P-256")
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(der)
	return &signer{key: key, id: base64url.EncodeToString(sum[:]), issuer: orDefault(issuer, DefaultIssuer)}, nil
}

type joseHeader struct {
	Algorithm string `json:"alg"`
	KeyID     string `json:"kid"`
}

// sign is the token of claims.
func (s *signer) sign(c *claims) (string, error) {
	c.Issuer = s.issuer
	header, err := json.Marshal(joseHeader{Algorithm: "ES256", KeyID: s.id})
	if err != nil {
		return "", err
	}
	payload, err := json.Marshal(c)
	if err != nil {
		return "", err
	}
	text := base64url.EncodeToString(header) + "." + base64url.EncodeToString(payload)
	digest := sha256.Sum256([]byte(text))
	x, y, err := ecdsa.Sign(rand.Reader, s.key, digest[:])
	if err != nil {
		return "", err
	}
	var signature [64]byte // RFC 7518, section 3.4
	x.FillBytes(signature[:32])
	y.FillBytes(signature[32:])
	return text + "." + base64url.EncodeToString(signature[:]), nil
}

// verify returns what a token says, if this cluster signed it and it is good
// for the time now. Whether its objects still exist is another question.
func (s *signer) verify(token string, now time.Time) (*claims, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, errors.New("a bearer token that is no JWT")
	}
	var header joseHeader
	if err := decodePart(parts[0], &header); err != nil {
		return nil, err
	}
	signature, err := base64url.DecodeString(parts[2])
	if err != nil || header.Algorithm != "ES256" || header.KeyID != s.id || len(signature) != 64 {
		return nil, errors.New("the token was signed by somebody else")
	}
	digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if !ecdsa.Verify(&s.key.PublicKey, digest[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])) {
		return nil, errors.New("the token's signature is wrong")
	}
	c := &claims{}
	if err := decodePart(parts[1], c); err != nil {
		return nil, err
	}
	switch {
	case c.Issuer != s.issuer:
		return nil, fmt.Errorf("the token's issuer is %q, not %q", c.Issuer, s.issuer)
	case now.Add(-leeway).Unix() > c.Expires:
		return nil, errors.New("service account token has expired")
	case now.Add(leeway).Unix() < c.NotBefore:
		return nil, errors.New("service account token is not valid yet")
	}
	return c, nil
}

// leeway is how far the clocks of who signs and who verifies may be apart.
const leeway = time.Minute

func decodePart(part string, into any) error {
	raw, err := base64url.DecodeString(part)
	if err == nil {
		err = json.Unmarshal(raw, into)
	}
	if err != nil {
		return fmt.Errorf("the token does not decode: %w", err)
	}
	return nil
}

// keySet is the public key as RFC 7517 wants it.
func (s *signer) keySet() (any, error) {
	public, err := s.key.PublicKey.Bytes() // 4, then both coordinates
	if err != nil {
		return nil, err
	}
	return map[string]any{"keys": []map[string]string{{
		"use": "sig", "kty": "EC", "kid": s.id, "crv": "P-256", "alg": "ES256",
		"x": base64url.EncodeToString(public[1:33]), "y": base64url.EncodeToString(public[33:65]),
	}}}, nil
}

// metadata is what OpenID Connect Discovery wants to know; keys is where the
// key set is.
func (s *signer) metadata(keys string) any {
	return map[string]any{
		"issuer": s.issuer, "jwks_uri": keys, "response_types_supported": []string{"id_token"},
		"subject_types_supported": []string{"public"}, "id_token_signing_alg_values_supported": []string{"ES256"},
	}
}

// meant are those of the audiences that are wanted to which the token is
// addressed. Nothing wanted is the API server itself.
func (s *signer) meant(c *claims, wanted []string) []string {
	if len(wanted) == 0 {
		wanted = []string{s.issuer}
	}
	return slices.DeleteFunc(slices.Clone(wanted), func(a string) bool { return !slices.Contains(c.Audience, a) })
}
