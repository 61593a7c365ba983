package credential

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/containerd-pull/containerd-pull/pkg/source"
)

// providers are kubelet's credential provider plugins, as its
// CredentialProviderConfig describes them.
type providers struct{ config, binDir string }

// providerConfig is the part of CredentialProviderConfig that is honoured.
type providerConfig struct {
	Kind      string     `yaml:"kind"`
	Providers []provider `yaml:"providers"`
}

type provider struct {
	Name            string    `yaml:"name"`
	MatchImages     []string  `yaml:"matchImages"`
	APIVersion      string    `yaml:"apiVersion"`
	Args            []string  `yaml:"args"`
	Env             []envPair `yaml:"env"`
	TokenAttributes any       `yaml:"tokenAttributes"`
}

type envPair struct {
	Name  string `yaml:"name"`
	Value string `yaml:"value"`
}

// providerRequest and providerResponse are the two documents of the exec
// protocol.
type providerRequest struct {
	Kind       string `json:"kind"`
	APIVersion string `json:"apiVersion"`
	Image      string `json:"image"`
}

type providerResponse struct {
	Kind string `json:"kind"`
	// CacheKeyType is Image, Registry or Global.
	CacheKeyType string `json:"cacheKeyType"`
	Auth         map[string]struct {
		Username string `json:"username"`
		Password string `json:"password"`
	} `json:"auth"`
}

// credential asks the providers whose matchImages fit. kubelet asks all of
// them and tries their answers in turn; the first answer is the one here. As with
// kubelet, a provider that fails or knows nothing stops no image that needs no
// credential.
func (p providers) credential(ctx context.Context, q question) (Credential, bool, error) {
	conf, err := p.read()
	if err != nil {
		return Credential{}, false, err
	}
	image := source.CanonicalHost(q.host) + "/" + q.ref.Path
	asked := false
	for _, one := range conf.Providers {
		if !one.isFor(image) {
			continue
		}
		cred, ok, err := p.ask(ctx, q, one, image)
		switch {
		case ctx.Err() != nil:
			return Credential{}, false, err
		case err != nil:
			q.warn("credential provider %q: %v: going on without its credential", one.Name, err)
			continue
		case ok:
			return cred, true, nil
		}
		asked = true
	}
	if asked {
		q.warn("the credential providers of %s know nothing of %s: going on without a credential of theirs", p.config, image)
	}
	return Credential{}, false, nil
}

func (p providers) read() (providerConfig, error) {
	var conf providerConfig
	data, err := readNamed(p.config)
	if err != nil {
		return conf, fmt.Errorf("reading the configuration of credential providers: %w", err)
	}
	if err := yaml.Unmarshal(data, &conf); err != nil || conf.Kind != "CredentialProviderConfig" {
		return conf, fmt.Errorf("%s is no CredentialProviderConfig", p.config)
	}
	return conf, nil
}

func (p provider) isFor(image string) bool {
	return slices.ContainsFunc(p.MatchImages, func(pattern string) bool { return source.MatchImage(pattern, image) })
}

func (p providers) ask(ctx context.Context, q question, one provider, image string) (Credential, bool, error) {
	if one.TokenAttributes != nil {
		return Credential{}, false, errors.New("it wants a service account token, which only kubelet has")
	}
	if one.Name == "" || strings.ContainsAny(one.Name, `/\`) || one.Name == ".." {
		return Credential{}, false, errors.New("its name is no name of a program")
	}
	request, err := json.Marshal(providerRequest{
		Kind:       "CredentialProviderRequest",
		APIVersion: cmp.Or(one.APIVersion, "credentialprovider.kubelet.k8s.io/v1"),
		Image:      image,
	})
	if err != nil {
		return Credential{}, false, fmt.Errorf("writing the request: %w", err)
	}
	prog := program{path: filepath.Join(p.binDir, one.Name), args: one.Args, stdin: string(request), detached: q.detached}
	for _, e := range one.Env {
		prog.env = append(prog.env, e.Name+"="+e.Value)
	}
	out, err := q.askProvider(ctx, prog)
	if err != nil {
		return Credential{}, false, err
	}
	return readProviderResponse(out, image, one.Name)
}

// askProvider runs a provider once for all that its answer is good for, as it says
// itself: the image, its registry, or everything.
func (q question) askProvider(ctx context.Context, prog program) ([]byte, error) {
	everything, registry := prog, prog
	everything.stdin, registry.stdin = "", source.CanonicalHost(q.host)
	release, err := q.shared.answer("turn\x00" + everything.key()).take(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	for _, wider := range []program{everything, registry} {
		if a := q.shared.answer(wider.key()); a.known {
			return a.out, nil
		}
	}
	out, err := q.shared.ask(ctx, prog)
	var response providerResponse
	if err != nil || json.Unmarshal(out, &response) != nil {
		return out, err
	}
	switch response.CacheKeyType {
	case "Global":
		q.shared.answer(everything.key()).keep(out, nil)
	case "Registry":
		q.shared.answer(registry.key()).keep(out, nil)
	}
	return out, nil
}

// readProviderResponse takes the entry that fits the image most closely.
func readProviderResponse(out []byte, image, name string) (Credential, bool, error) {
	var response providerResponse
	if err := json.Unmarshal(out, &response); err != nil || response.Kind != "CredentialProviderResponse" {
		return Credential{}, false, errors.New("answered with something else than a CredentialProviderResponse")
	}
	best := ""
	for pattern := range response.Auth {
		if source.MatchImage(pattern, image) && (len(pattern) > len(best) || len(pattern) == len(best) && pattern > best) {
			best = pattern
		}
	}
	if best == "" {
		return Credential{}, false, nil
	}
	return Credential{
		Username: response.Auth[best].Username,
		Password: response.Auth[best].Password,
		Source:   fmt.Sprintf("credential provider %q", name),
	}, true, nil
}
