package testregistry

import (
	"io"
	"maps"
	"net/http"
	"net/url"
)

// Animal is how a registry that people use answers, as far as registries differ from
// each other: out of its documentation, its source, or a report with its answers.
type Animal struct {
	Name   string
	From   string // where that can be read
	Domain string // that references begin with
	API    string // host that answers for it

	Realm   string // of the token server; empty for basic authentication or none
	Service string
	Scope   string // %s is the repository; none is announced if it is empty
	// Challenges are lines of WWW-Authenticate before the one of the token server.
	Challenges []string
	Tokens     []string // fields of the token server's answer that are not empty
	AtToken    bool     // the token server refuses what the client may not see
	Guarded    bool     // nothing is given to a client without a credential

	Storage   string // host to which requests for blobs are redirected, none if it is empty
	Redirect  int    // status of that
	LowerCase bool   // header names of its own come in small letters
	// Next is the address of the next page of tags, with %[1]s for the API, %[2]s for the
	// repository and %[3]s for the last tag; empty is that of the specification.
	Next   string
	Header http.Header

	Anonymous    Refusal // of a client without a credential, where one is wanted
	Wrong        Refusal // of a wrong credential
	NoTag        Refusal
	NoRepository Refusal
	TooMany      Refusal
}

// Hosts lists all hosts of the registry.
func (a Animal) Hosts() []string {
	hosts := []string{a.API}
	if realm, err := url.Parse(a.Realm); err == nil && realm.Host != "" {
		hosts = append(hosts, realm.Host)
	}
	if a.Storage != "" {
		hosts = append(hosts, a.Storage)
	}
	return hosts
}

// Refusal is an answer that gives a client nothing.
type Refusal struct {
	Status int
	Type   string // of the body
	Body   string
	Header http.Header
}

func (r Refusal) write(w http.ResponseWriter) {
	maps.Copy(w.Header(), r.Header)
	w.Header().Set("Content-Type", r.Type)
	w.WriteHeader(r.Status)
	io.WriteString(w, r.Body) // an error is the client's, who has gone
}

func (r Refusal) with(status int) Refusal {
	r.Status = status
	return r
}

// refusal has the error document of the distribution specification.
func refusal(status int, code, message string) Refusal {
	return Refusal{Status: status, Type: "application/json", Body: `{"errors":[{"code":"` + code + `","message":"` + message + `"}]}`}
}

// later adds how long the client should stay away.
func (r Refusal) later(seconds string) Refusal {
	r.Header = http.Header{"Retry-After": {seconds}}
	return r
}

// What the reference implementation says, and most others with it.
var (
	unauthorized   = refusal(401, "UNAUTHORIZED", "authentication required")
	noManifest     = refusal(404, "MANIFEST_UNKNOWN", "manifest unknown")
	noName         = refusal(404, "NAME_UNKNOWN", "repository name not known to registry")
	tooMany        = refusal(429, "TOOMANYREQUESTS", "too many requests")
	api2           = http.Header{"Docker-Distribution-Api-Version": {"registry/2.0"}}
	pullScope      = "repository:%s:pull"
	eitherToken    = []string{"token", "access_token"}
	onlyToken      = []string{"token"}
	onlyAccess     = []string{"access_token"}
	textPlain      = "text/plain; charset=utf-8"
	limitOfTheHour = http.Header{"Ratelimit-Limit": {"100;w=21600"}, "Ratelimit-Remaining": {"76;w=21600"}, "Docker-Ratelimit-Source": {"192.0.2.1"}}
)

// Zoo lists the registries.
func Zoo() []Animal {
	return append(services(), programs()...)
}

// services are registries that are a service.
func services() []Animal {
	return []Animal{
		{
			Name: "Docker Hub", From: "docs.docker.com: Docker Hub, usage and limits; distribution: Token Authentication Specification",
			Domain: "docker.io", API: "registry-1.docker.io",
			Realm: "https://auth.docker.io/token", Service: "registry.docker.io", Scope: pullScope, Tokens: eitherToken,
			Storage: "production.cloudflare.docker.com", Redirect: 307, LowerCase: true, Header: limitOfTheHour,
			Anonymous: unauthorized, Wrong: Refusal{401, "application/json", `{"details":"incorrect username or password"}`, nil},
			NoTag: noManifest, NoRepository: unauthorized,
			TooMany: refusal(429, "TOOMANYREQUESTS", "You have reached your pull rate limit.").later("3600"),
		},
		{
			Name: "GitHub Container Registry", From: "camunda-platform-rest-api#106, kargo#778, acorn-io/runtime#1548",
			Domain: "ghcr.io", API: "ghcr.io",
			Realm: "https://ghcr.io/token", Service: "ghcr.io", Scope: pullScope, Tokens: onlyToken, AtToken: true,
			Storage: "pkg-containers.githubusercontent.com", Redirect: 307, LowerCase: true,
			Anonymous: refusal(403, "DENIED", "requested access to the resource is denied"), Wrong: refusal(403, "DENIED", "denied"),
			NoTag: noManifest, NoRepository: refusal(403, "DENIED", "requested access to the resource is denied"), TooMany: tooMany,
		},
		{
			Name: "Quay", From: "github.com/quay/quay: endpoints/v2; access.redhat.com: rate limits of quay.io",
			Next:   "/v2/%[2]s/tags/list?n=2&next_page=%[3]s",
			Domain: "quay.io", API: "quay.io",
			Realm: "https://quay.io/v2/auth", Service: "quay.io", Scope: pullScope, Tokens: onlyToken,
			Storage: "cdn01.quay.io", Redirect: 302,
			Anonymous: refusal(401, "UNAUTHORIZED", "access to the requested resource is not authorized"),
			Wrong:     refusal(401, "UNAUTHORIZED", "Invalid Username or Password"), NoTag: noManifest,
			NoRepository: refusal(401, "UNAUTHORIZED", "access to the requested resource is not authorized"),
			TooMany:      Refusal{429, "text/html", "<html><head><title>429 Too Many Requests</title></head></html>", nil},
		},
		{
			Name: "Amazon ECR", From: "docs.aws.amazon.com: private registry authentication; amazon-ecr-credential-helper#7",
			Domain: "123456789012.dkr.ecr.eu-west-1.amazonaws.com", API: "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
			Challenges: []string{`Basic realm="https://123456789012.dkr.ecr.eu-west-1.amazonaws.com/",service="ecr.amazonaws.com"`}, Guarded: true,
			Storage: "prod-eu-west-1-starport-layer-bucket.s3.eu-west-1.amazonaws.com", Redirect: 307, Header: api2,
			Anonymous:    Refusal{401, textPlain, "Not Authorized\n", nil},
			Wrong:        Refusal{403, textPlain, "Your Authorization Token has expired. Please run 'aws ecr get-login' to fetch a new one.", nil},
			NoTag:        refusal(404, "MANIFEST_UNKNOWN", "Requested image not found"),
			NoRepository: refusal(404, "NAME_UNKNOWN", "The repository does not exist in the registry with id '123456789012'"),
			TooMany:      refusal(429, "TOOMANYREQUESTS", "Rate exceeded"),
		},
		{
			Name: "Amazon ECR Public", From: "docs.aws.amazon.com: public registry authentication; aws/containers-roadmap#2835",
			Domain: "public.ecr.aws", API: "public.ecr.aws",
			Realm: "https://public.ecr.aws/token/", Service: "public.ecr.aws", Scope: "aws", Tokens: onlyToken,
			Storage: "d5l0dvt14r5h8.cloudfront.net", Redirect: 307, Header: api2,
			Anonymous: refusal(401, "UNAUTHORIZED", "Not Authorized"), Wrong: refusal(400, "DENIED", "Your Authorization Token is invalid."),
			NoTag:        refusal(404, "MANIFEST_UNKNOWN", "Requested image not found"),
			NoRepository: refusal(404, "NAME_UNKNOWN", "The repository does not exist in the registry"),
			TooMany:      refusal(429, "TOOMANYREQUESTS", "Rate exceeded").later("120"),
		},
		{
			Name: "Google Artifact Registry", From: "setup-buildx-action#79, aactl#233, argo-cd#26260",
			Domain: "europe-west4-docker.pkg.dev", API: "europe-west4-docker.pkg.dev",
			Realm: "https://europe-west4-docker.pkg.dev/v2/token", Service: "europe-west4-docker.pkg.dev", Scope: pullScope, Tokens: onlyToken, AtToken: true,
			Storage: "storage.googleapis.com", Redirect: 302, Header: api2,
			Anonymous: refusal(403, "DENIED", "Unauthenticated request. Unauthenticated requests do not have permission (or it may not exist)"),
			Wrong:     refusal(401, "UNAUTHORIZED", "authentication failed"), NoTag: refusal(404, "MANIFEST_UNKNOWN", "the tag cannot be fetched"),
			NoRepository: refusal(403, "DENIED", "Permission denied on resource (or it may not exist)"),
			TooMany:      refusal(429, "TOOMANYREQUESTS", "Quota exceeded for quota metric"),
		},
		{
			Name: "Azure Container Registry", From: "azure.github.io/acr: Token-BasicAuth, AAD-OAuth; dkregistry-rs#262",
			Domain: "contoso.azurecr.io", API: "contoso.azurecr.io",
			Realm: "https://contoso.azurecr.io/oauth2/token", Service: "contoso.azurecr.io", Scope: pullScope, Tokens: onlyAccess,
			Storage: "contoso.westeurope.data.azurecr.io", Redirect: 307, Header: api2,
			Anonymous: unauthorized, Wrong: unauthorized, NoTag: refusal(404, "MANIFEST_UNKNOWN", "manifest tagged so is not found"),
			NoRepository: noName, TooMany: tooMany.later("90"),
		},
		{
			Name: "Microsoft Artifact Registry", From: "github.com/microsoft/containerregistry: client firewall rules",
			Domain: "mcr.microsoft.com", API: "mcr.microsoft.com",
			Storage: "westeurope.data.mcr.microsoft.com", Redirect: 307, Header: api2,
			Anonymous: unauthorized, Wrong: unauthorized, NoTag: noManifest, NoRepository: noManifest, TooMany: tooMany,
		},
		{
			Name: "GitLab", From: "docs.gitlab.com: container registry token authentication",
			Domain: "registry.gitlab.com", API: "registry.gitlab.com",
			Realm: "https://gitlab.com/jwt/auth", Service: "container_registry", Scope: pullScope, Tokens: onlyToken,
			Storage: "cdn.registry.gitlab-static.net", Redirect: 307, Header: api2,
			Anonymous: refusal(401, "UNAUTHORIZED", "authentication required"),
			Wrong:     refusal(401, "UNAUTHORIZED", "HTTP Basic: Access denied."),
			NoTag:     noManifest, NoRepository: unauthorized, TooMany: Refusal{429, "text/plain", "Retry later\n", http.Header{"Retry-After": {"300"}}},
		},
		{
			Name: "Scaleway", From: "the realm of rg.REGION.scw.cloud, which is in another domain",
			Domain: "rg.fr-par.scw.cloud", API: "rg.fr-par.scw.cloud",
			Realm: "https://api.scaleway.com/registry-internal/v1/regions/fr-par/tokens", Service: "registry", Scope: pullScope, Tokens: onlyToken,
			Header: api2, Anonymous: unauthorized, Wrong: unauthorized, NoTag: noManifest, NoRepository: noManifest, TooMany: tooMany,
		},
	}
}

// programs are registries that people run themselves.
func programs() []Animal {
	return []Animal{
		{
			Name: "Harbor", From: "github.com/goharbor/harbor: src/server/middleware/v2auth, src/core/service/token",
			Domain: "harbor.example.com", API: "harbor.example.com",
			Realm: "https://harbor.example.com/service/token", Service: "harbor-registry", Scope: pullScope, Tokens: onlyToken,
			Header:    http.Header{"Set-Cookie": {"sid=8f3e; Path=/; HttpOnly"}, "X-Request-Id": {"7f"}},
			Anonymous: refusal(401, "UNAUTHORIZED", "unauthorized to access repository: action: pull"), Wrong: refusal(401, "UNAUTHORIZED", "unauthorized"),
			NoTag: refusal(404, "NOT_FOUND", "artifact not found"), NoRepository: refusal(404, "NOT_FOUND", "repository not found"), TooMany: tooMany,
		},
		{
			Name: "Artifactory", From: "containerd#6339, registry-image-resource#47, earthly#1017",
			Domain: "docker-hub.artifactory.example.com", API: "docker-hub.artifactory.example.com",
			Realm: "https://artifactory.example.com/artifactory/api/docker/docker-hub/v2/token", Service: "artifactory.example.com", Scope: pullScope, Tokens: onlyToken,
			Header:    http.Header{"Set-Cookie": {"AWSELB=a1; PATH=/; MAX-AGE=600"}, "X-Jfrog-Version": {"Artifactory/7.12.8"}, "Docker-Distribution-Api-Version": {"registry/2.0"}},
			Anonymous: refusal(401, "UNAUTHORIZED", "The client does not have permission for manifest"),
			Wrong:     Refusal{200, "application/json", `{"statusCode":401,"details":"BAD_CREDENTIAL"}`, nil},
			NoTag:     refusal(404, "MANIFEST_UNKNOWN", "The named manifest is not known to the registry."), NoRepository: refusal(404, "NAME_UNKNOWN", "Repository name not known to registry."),
			TooMany: Refusal{429, "application/json", `{"errors":[{"status":429,"message":"Too Many Requests"}]}`, nil},
		},
		{
			Name: "Nexus", From: "help.sonatype.com: Docker authentication, Docker Bearer Token Realm",
			Domain: "nexus.example.com", API: "nexus.example.com",
			Realm: "https://nexus.example.com/v2/token", Service: "https://nexus.example.com/v2/token", Tokens: onlyToken, Scope: pullScope,
			Header: api2, Anonymous: refusal(401, "UNAUTHORIZED", "access to the requested resource is not authorized"),
			Wrong: refusal(401, "UNAUTHORIZED", "access to the requested resource is not authorized"),
			NoTag: noManifest, NoRepository: noManifest, TooMany: tooMany,
		},
		{
			Name: "distribution", From: "github.com/distribution/distribution: registry/auth/htpasswd, registry/api/errcode",
			Domain: "registry.example.com", API: "registry.example.com",
			Challenges: []string{`Basic realm="Registry Realm"`}, Guarded: true, Header: api2,
			Anonymous: unauthorized, Wrong: unauthorized, NoTag: noManifest, NoRepository: noName, TooMany: tooMany,
		},
		{
			Name: "registry of kind", From: "kind.sigs.k8s.io: local registry",
			Domain: "kind-registry.example.com", API: "kind-registry.example.com", Header: api2,
			Anonymous: unauthorized, Wrong: unauthorized, NoTag: noManifest, NoRepository: noManifest, TooMany: tooMany,
		},
		{
			Name: "zot", From: "zotregistry.dev: user authentication and authorization",
			Domain: "zot.example.com", API: "zot.example.com",
			Challenges: []string{`Basic realm="Authorization Required"`}, Guarded: true,
			Anonymous: unauthorized, Wrong: unauthorized, NoTag: noManifest, NoRepository: noName, TooMany: tooMany,
		},
		{
			Name: "Gitea and Forgejo", From: "github.com/go-gitea/gitea: routers/api/packages/container",
			Domain: "gitea.example.com", API: "gitea.example.com",
			Realm: "https://gitea.example.com/v2/token", Service: "container_registry", Scope: "*", Tokens: onlyToken, Header: api2,
			Anonymous: refusal(401, "UNAUTHORIZED", ""), Wrong: refusal(401, "UNAUTHORIZED", ""),
			NoTag: noManifest, NoRepository: noName, TooMany: tooMany,
		},
		{
			Name: "registry behind a single sign-on", From: "jib#4187, prowler#12691",
			Next:   "http://%[1]s/v2/%[2]s/tags/list?n=2&last=%[3]s", // its TLS ends before it
			Domain: "sso.example.com", API: "sso.example.com",
			Challenges: []string{`Negotiate, NTLM, Basic realm="sso"`}, Guarded: true, Header: api2,
			Anonymous: unauthorized, Wrong: unauthorized, NoTag: noManifest, NoRepository: noName, TooMany: tooMany,
		},
	}
}
