package registry_test

import (
	"testing"

	"github.com/containerd/errdefs"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
	"github.com/containerd-pull/containerd-pull/pkg/registry"
)

func TestLogin(t *testing.T) {
	right := &pulltest.Credentials{User: "me", Password: "canary"}
	for name, o := range map[string]pulltest.RegistryOptions{
		"basic": {Basic: right},
		"token": {Token: &pulltest.TokenOptions{Credentials: right}},
		"open":  {},
	} {
		t.Run(name, func(t *testing.T) {
			server := pulltest.StartRegistry(t, o)
			login := func(password string) error {
				r, err := registry.New(registry.Options{Credentials: registry.OwnHost(registry.Credential{Username: "me", Password: password})})
				if err != nil {
					t.Fatal(err)
				}
				return r.Login(t.Context(), server.Host())
			}
			if err := login("canary"); err != nil {
				t.Errorf("with the right password: %v", err)
			}
			if err := login("wrong"); name != "open" && !errdefs.IsUnauthorized(err) {
				t.Errorf("with a wrong password: got %v, want an error of class unauthenticated", err)
			}
		})
	}
}
