package list_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/containerd-pull/containerd-pull/pkg/source/list"
)

// reader has an environment of two variables.
func reader(keys ...string) list.Reader {
	env := map[string]string{"TAG": "1.2", "EMPTY": ""}
	return list.Reader{Keys: keys, Lookup: func(name string) (string, bool) { v, ok := env[name]; return v, ok }}
}

// readFile reads a file below a folder, and shows what it names: one image in each
// line, then notes.
func readFile(t *testing.T, dir, name string, r list.Reader) string {
	t.Helper()
	found, err := r.Read(t.Context(), filepath.Join(dir, name))
	if err != nil {
		return strings.ReplaceAll(told(err), dir+"/", "")
	}
	var all []string
	for _, e := range found.Entries {
		line := fmt.Sprintf("%s:%d %s", filepath.Base(e.File), e.Line, e.Ref)
		for _, w := range e.Words {
			line += " " + w.Key + "=" + w.Value
		}
		all = append(all, line)
	}
	for _, n := range found.Notes {
		all = append(all, "note: "+strings.ReplaceAll(n, dir+"/", ""))
	}
	return strings.Join(all, "\n")
}

func readText(t *testing.T, text string, keys ...string) string {
	t.Helper()
	return readFile(t, write(t, map[string]string{"f": text}), "f", reader(keys...))
}

func compare(t *testing.T, got, want string) {
	t.Helper()
	if diff := cmp.Diff(strings.TrimSpace(want), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// workload is a resource of a kind with a template of pods at a path.
func workload(kind, path string) string {
	text := "apiVersion: v1\nkind: " + kind + "\nmetadata: {name: x}\n"
	indent := ""
	for part := range strings.SplitSeq(path, ".") {
		text += indent + part + ":\n"
		indent += "  "
	}
	for _, line := range strings.Split("initContainers:\n- name: i\n  image: init:1\ncontainers:\n- image: \"main:1\"\n  name: m\n- {name: n, image: side@sha256:0}\nephemeralContainers:\n- image: debug\nvolumes:\n- name: v\n  image: {reference: data:1, pullPolicy: Always}\n- name: w\n  emptyDir: {}", "\n") {
		text += indent + line + "\n"
	}
	return text
}

// TestKubernetesKinds: each kind of workload, alone, in a list and as JSON.
func TestKubernetesKinds(t *testing.T) {
	for kind, path := range map[string]string{
		"Pod": "spec", "PodTemplate": "template.spec", "Deployment": "spec.template.spec", "ReplicaSet": "spec.template.spec",
		"StatefulSet": "spec.template.spec", "DaemonSet": "spec.template.spec", "ReplicationController": "spec.template.spec",
		"Job": "spec.template.spec", "CronJob": "spec.jobTemplate.spec.template.spec", "Rollout": "spec.template.spec", "PodSpecable": "spec.revision.deep.down",
	} {
		t.Run(kind, func(t *testing.T) {
			text := workload(kind, path)
			first := strings.Count(text[:strings.Index(text, "init:1")], "\n") + 1
			want := fmt.Sprintf("f:%d init:1\nf:%d main:1\nf:%d side@sha256:0\nf:%d debug\nf:%d data:1", first, first+2, first+4, first+6, first+9)
			compare(t, readText(t, text), want)
			compare(t, readText(t, "# a chart\n---\n"+text+"---\n---\n# nothing\n"), shift(want, 2))
			list := "apiVersion: v1\nkind: List\nitems:\n- " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n  ")
			compare(t, readText(t, list), shift(want, 3))
		})
	}
}

// shift moves the lines in what readFile shows.
func shift(shown string, by int) string {
	var all []string
	for line := range strings.SplitSeq(shown, "\n") {
		var n int
		var rest string
		place, rest, _ := strings.Cut(line, " ")
		fmt.Sscanf(place, "f:%d", &n)
		all = append(all, fmt.Sprintf("f:%d %s", n+by, rest))
	}
	return strings.Join(all, "\n")
}

func TestKubernetesShapes(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"helm template", "---\n# Source: ingress-nginx/templates/controller.yaml\napiVersion: apps/v1\nkind: Deployment\nspec:\n  template:\n    spec:\n      containers:\n        - name: controller\n          image: registry.k8s.io/ingress-nginx/controller:v1.11.2@sha256:d5f8\n          args:\n            - /nginx-ingress-controller\n---\n# Source: x\napiVersion: batch/v1\nkind: Job\nmetadata:\n  annotations: {\"helm.sh/hook\": pre-install}\nspec: {template: {spec: {containers: [{name: create, image: \"registry.k8s.io/certgen:v1\"}]}}}\n",
			"f:10 registry.k8s.io/ingress-nginx/controller:v1.11.2@sha256:d5f8\nf:19 registry.k8s.io/certgen:v1"},
		{"kubectl as JSON", "{\n\t\"apiVersion\": \"v1\",\n\t\"kind\": \"List\",\n\t\"items\": [\n\t\t{\"kind\": \"Pod\", \"spec\": {\"containers\": [\n\t\t\t{\"image\": \"a:1\"}\n\t\t]}}\n\t]\n}\n", "f:6 a:1"},
		{"stream of JSON", "{\"kind\":\"Pod\",\"spec\":{\"containers\":[{\"image\":\"a\"}]}}\n{\"kind\":\"Pod\",\"spec\":{\"containers\":[{\"image\":\"b\"}]}}", "f:1 a\nf:2 b"},
		{"status is left out", "kind: Pod\nspec: {containers: [{image: a}]}\nstatus: {containerStatuses: [{image: b, imageID: c}]}\n", "f:2 a"},
		{"containers of a status", "kind: Machine\nstatus: {template: {containers: [{image: b}]}}\nspec: {status: {containers: [{image: a}]}}\n", "f:3 a"},
		{"too deep", "kind: Pod\nspec: " + strings.Repeat("[", 101) + "{containers: [{image: a}]}" + strings.Repeat("]", 101) + "\n", "f:2: values lie more than 100 deep in each other"},
		{"no image yet", "kind: Pod\nspec: {containers: [{name: istio-proxy}, {image: auto}, {image: null}]}\n", "f:2 auto\nnote: f:2: left out, since the image is no text"},
		{"image in parts", "kind: App\nspec:\n  containers:\n  - image: {repository: a, tag: b}\n", "note: f:4: left out, since the image is no text"},
		{"anchors", "kind: Pod\nspec:\n  containers:\n  - &c {name: a, image: a:1}\n  - <<: *c\n    name: b\n  - <<: [*c]\n    image: c:1\n", "f:4 a:1\nf:4 a:1\nf:8 c:1"},
		{"schema of a resource", "kind: CustomResourceDefinition\nspec: {versions: [{schema: {properties: {containers: {items: {properties: {image: {type: string}}}}}}}]}\n", ""},
		{"nothing", "# nothing\n---\n", ""},
		{"a config map", "kind: ConfigMap\ndata:\n  pod.yaml: |\n    containers:\n    - image: hidden\n", ""},
		{"a text", "just words\n", "f:1: is neither a Kubernetes resource nor a Compose file nor a Dockerfile | -f reads a list with one reference in each line"},
		{"bad indentation", "kind: Pod\nspec:\n  containers:\n  - image: a\n name: b\n", "f:5: did not find expected key"},
		{"tabs", "kind: Pod\nspec:\n\tcontainers: []\n", "f:3: found character that cannot start any token"},
		{"not rendered", "kind: Pod\nspec:\n  {{- if .Values.x }}\n  image: a\n", "f:3: did not find expected node content | a chart has to be rendered first: helm template CHART | containerd-pull --from -"},
		{"JSON cut off", "{\"kind\": \"Pod\",\n \"spec\": {", "f:2: unexpected EOF"},
		{"JSON with a mistake", "{\"kind\": \"Pod\",\n \"spec\": {\"a\" 1}}", "f:2: invalid character '1' after object key"},
		{"UTF-16", "\xff\xfek\x00", "f: is written in UTF-16 | save it as UTF-8"},
	} {
		t.Run(tc.name, func(t *testing.T) { compare(t, readText(t, tc.text), tc.want) })
	}
}

// TestKey: paths in resources of others.
func TestKey(t *testing.T) {
	const text = `apiVersion: monitoring.coreos.com/v1
kind: Prometheus
spec:
  image: prom:1
  thanos: {image: thanos:1}
  tasks:
  - image: t:1
  - {image: t:2}
  by.name: {image: dot:1}
---
kind: PrometheusList
items:
- spec: {image: prom:2}
`
	for key, want := range map[string]string{
		"spec.image":          "f:4 prom:1\nf:13 prom:2",
		".spec.image":         "f:4 prom:1\nf:13 prom:2",
		"spec.tasks[].image":  "f:7 t:1\nf:8 t:2",
		"spec.tasks[*].image": "f:7 t:1\nf:8 t:2",
		"spec.tasks.image":    "f:7 t:1\nf:8 t:2",
		"spec.*.image":        "f:5 thanos:1\nf:7 t:1\nf:8 t:2\nf:9 dot:1",
		`spec.by\.name.image`: "f:9 dot:1",
		"spec.none":           "",
		"spec.thanos":         `f:5: what --key "spec.thanos" leads to is no text`,
		"spec..image":         `--key "spec..image": want names of keys with dots between them, such as spec.tasks[].image`,
		"{.spec.image}":       `--key "{.spec.image}": want names of keys with dots between them, such as spec.tasks[].image`,
		"spec.tasks[0].image": `--key "spec.tasks[0].image": want names of keys with dots between them, such as spec.tasks[].image`,
	} {
		t.Run(key, func(t *testing.T) { compare(t, readText(t, text, key), want) })
	}
}

// TestAliasesAreBounded: aliases lead to a node in more ways than can be gone.
func TestAliasesAreBounded(t *testing.T) {
	text := "a0: &a0 {containers: [{image: x}], image: y}\n"
	merge := "m0: &m0 {image: x}\n"
	for i := range 60 {
		text += fmt.Sprintf("a%d: &a%d [*a%d, *a%d, *a%d]\n", i+1, i+1, i, i, i)
		merge += fmt.Sprintf("m%d: &m%d {<<: [*m%d, *m%d], b: 1}\n", i+1, i+1, i, i)
	}
	compare(t, readText(t, text), "f:1 x")
	for key, want := range map[string]string{"a60.none": "more than 1000000 places", "a60.image": "more than 100000 images"} {
		if got := readText(t, text, key); !strings.Contains(got, want) {
			t.Errorf("%s: got %.200s", key, got)
		}
	}
	compare(t, readText(t, merge+"containers: [*m60, {<<: *m60, name: x}]\n"), "f:1 x\nf:1 x")
}

const composeText = `name: demo
x-base: &base
  image: base:1
services:
  plain: {image: plain}
  digest: {image: "registry.example.com:5000/a/b:1@sha256:0"}
  tag: {image: "app:${TAG}"}
  bare: {image: app:$TAG}
  default: {image: "app:${NONE:-2.0}"}
  nested: {image: "${NONE:-reg.example.com/${NONE:-team}}/app:${TAG:+3}"}
  emptied: {image: "app:${EMPTY-x}${EMPTY:-y}"}
  dotenv: {image: "app:${FROM_FILE}"}
  merged: {<<: *base, platform: linux/arm64, pull_policy: missing}
  built: {build: .}
  both: {build: {context: .}, image: both}
  never: {image: never, pull_policy: never}
  debug: {image: debug, profiles: [debug, dev]}
  extended: {extends: {service: plain}}
  short: {extends: tag}
  other: {extends: {file: sub/base.yml, service: web}}
  volumes:
    image: v
    volumes: ["data:/data", {type: image, source: "data:${TAG}", target: /d}]
  none: {}
`

func TestCompose(t *testing.T) {
	files := map[string]string{
		"compose.yml": "include:\n- sub/more.yml\n- path: [\"${NONE:-./sub}/more2.yml\"]\n" + composeText, ".env": "FROM_FILE=9\nTAG=weaker\n",
		"sub/base.yml": "services:\n  web: {image: web:1}\n", "sub/more.yml": "services: {m: {image: more}}\n", "sub/more2.yml": "services: {n: {image: \"more:$TAG\"}}\n",
	}
	compare(t, readFile(t, write(t, files), "compose.yml", reader()), `
more.yml:1 more
more2.yml:1 more:1.2
compose.yml:8 plain
compose.yml:9 registry.example.com:5000/a/b:1@sha256:0
compose.yml:10 app:1.2
compose.yml:11 app:1.2
compose.yml:12 app:2.0
compose.yml:13 reg.example.com/team/app:3
compose.yml:14 app:y
compose.yml:15 app:9
compose.yml:6 base:1 platform=linux/arm64 policy=missing
compose.yml:8 plain
compose.yml:10 app:1.2
base.yml:2 web:1
compose.yml:26 data:1.2
compose.yml:25 v
note: compose.yml:17: service "built" is left out: it is built
note: compose.yml:18: service "both" is left out: it is built
note: compose.yml:19: service "never" is left out: its pull_policy is never
note: compose.yml:20: service "debug" is left out: COMPOSE_PROFILES has none of its profiles debug, dev
note: compose.yml:27: service "none" is left out: it has no image`)
}

func TestComposeProfiles(t *testing.T) {
	const text = "services:\n  a: {image: a, profiles: [x]}\n  b: {image: b, profiles: [y]}\n  c: {image: c}\n"
	for chosen, want := range map[string]string{"x": "f:2 a\nf:4 c", "x, y": "f:2 a\nf:3 b\nf:4 c", "*": "f:2 a\nf:3 b\nf:4 c", "": "f:4 c"} {
		r := list.Reader{Lookup: func(name string) (string, bool) { return chosen, name == "COMPOSE_PROFILES" }}
		got, _, _ := strings.Cut(readFile(t, write(t, map[string]string{"f": text}), "f", r), "\nnote")
		compare(t, got, want)
	}
}

func TestComposeMistakes(t *testing.T) {
	for text, want := range map[string]string{
		"services:\n  a:\n    image: \"app:${NONE}\"\n":         `f:3: "app:${NONE}": NONE has no value`,
		"services: {a: {image: \"app:${NONE:?say which}\"}}\n":  `f:1: "app:${NONE:?say which}": required variable NONE is missing a value: say which`,
		"services: {a: {image: \"app:${\"}}\n":                  `f:1: "app:${": Invalid template: "app:${"`,
		"services: {a: {image: [b]}}\n":                         `f:1: the image of the service is no text`,
		"services: {a: {extends: b}}\n":                         `f:1: extends service "b", which $/f does not have, or extends itself`,
		"services: {a: {extends: a}}\n":                         `f:1: extends service "a", which $/f does not have, or extends itself`,
		"include: f\n":                                          `f:1: f includes itself`,
		"include: [https://example.com/compose.yml]\n":          `f:1: "https://example.com/compose.yml" is not on this machine | fetch it, and name it here`,
		"include: [none.yml]\n":                                 `none.yml: no such file or directory`,
		"include: [{env_file: x}]\nservices: {a: {image: b}}\n": `f:1: include names no file`,
		"services: {a: {extends: {file: f, service: a}}}\n":     `f:1: extends service "a", which $/f does not have, or extends itself`,
	} {
		dir := write(t, map[string]string{"f": text})
		want = strings.ReplaceAll(want, "$/", "")
		compare(t, readFile(t, dir, "f", reader()), want)
	}
}

// TestFilesDoNotNameStdin: - in a file is no way to the standard input, wherever the
// file comes from; a file can have the name all the same.
func TestFilesDoNotNameStdin(t *testing.T) {
	dir := write(t, map[string]string{"-": "services: {b: {image: b}}\n"})
	t.Chdir(dir)
	for _, text := range []string{"include: [\"-\"]\n", "include: [{path: \"-\"}]\n", "services: {a: {extends: {file: \"-\", service: b}}}\n", "include: [\"${NONE:--}\"]\n"} {
		times := 0
		r := reader()
		r.Stdin = func() ([]byte, error) { times++; return []byte(text), nil }
		_, err := r.Read(t.Context(), list.Stdin)
		compare(t, told(err), "stdin:1: - is the standard input, which no file can name | name a file; ./- is one with the name -")
		if times != 1 {
			t.Errorf("%q: stdin was read %d times", text, times)
		}
		compare(t, readFile(t, write(t, map[string]string{"f": text}), "f", reader()), "f:1: - is the standard input, which no file can name | name a file; ./- is one with the name -")
	}
	r := reader()
	r.Stdin = func() ([]byte, error) { return []byte("include: [./-]\n"), nil }
	found, err := r.Read(t.Context(), list.Stdin)
	if err != nil || len(found.Entries) != 1 || found.Entries[0].Ref != "b" {
		t.Errorf("got %v, %v, want the image of the file", found, err)
	}
}

// doubled is a text of n+1 lines: each line stands for twice what the one before does.
func doubled(n int, first, next string) string {
	text := first
	for i := range n {
		text += strings.NewReplacer("NEW", fmt.Sprintf("A%d", i+1), "OLD", fmt.Sprintf("A%d", i)).Replace(next)
	}
	return text
}

// TestFewBytesStandForMany: what a file makes of variables and of other files is bounded.
func TestFewBytesStandForMany(t *testing.T) {
	long := strings.Repeat("x", 4097)
	many := map[string]string{"f": "include: [f0]\n"}
	chain := map[string]string{"f": "include: [f0]\n", "f60": "services: {a: {image: a}}\n"}
	for i := range 101 {
		many[fmt.Sprintf("f%d", i)] = fmt.Sprintf("include: [f%d]\n", i+1)
	}
	for i := range 60 {
		chain[fmt.Sprintf("f%d", i)] = fmt.Sprintf("include: [f%d, f%d]\n", i+1, i+1)
	}
	filled := "{\"services\": {\"b\": {\"build\": \".\"}}, \"x\": \"" + strings.Repeat("x", list.MaxFrom/2) + "\"}"
	large := map[string]string{"f": "include: [a, b]\n", "a": filled, "b": filled}
	extends := "services:\n"
	for i := range 200 {
		extends += fmt.Sprintf("  a%d: {extends: {file: large, service: b}}\n", i)
	}
	for _, tc := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"arguments", map[string]string{"f": doubled(60, "ARG A0=xxxxxxxx\n", "ARG NEW=$OLD$OLD\n") + "FROM a\n"}, `f:10: "$A8$A8" becomes longer than 4096 bytes`},
		{"arguments in braces", map[string]string{"f": doubled(60, "ARG A0=xxxxxxxx\n", "ARG NEW=${NONE:-${OLD}${OLD}}\n") + "FROM a\n"}, `f:10: "${NONE:-${A8}${A8}}" becomes longer than 4096 bytes`},
		{"a long argument", map[string]string{"f": "ARG A=" + long + "\nFROM a\n"}, "f:2 a"},
		{"a use of it", map[string]string{"f": "ARG A=" + long + "\nFROM a:$A\n"}, `f:2: "a:$A" becomes longer than 4096 bytes | give it a value by ARG before the first FROM, or name the image itself`},
		{"braces in braces", map[string]string{"f": "FROM " + strings.Repeat("${A:-", 101) + "a" + strings.Repeat("}", 101) + "\n"}, ""},
		{".env", map[string]string{"f": "services: {a: {image: a}}\n", ".env": doubled(60, "A0=xxxxxxxx\n", "NEW=\"$OLD$OLD\"\n")}, ".env:11: the variables in the value have more than 4096 bytes"},
		{"braces in .env", map[string]string{"f": "services: {a: {image: a}}\n", ".env": "A=1\nB=" + strings.Repeat("${A:-", 101) + "\n"}, ""},
		{"files in more ways than can be gone", chain, "f60:1 a"},
		{"many files", many, "f99:1: more than 100 other files are included or extended"},
		{"large files", large, "f:1: with b, the files have more than 33554432 bytes"},
		{"a large file that is extended often", map[string]string{"f": extends, "large": filled}, "*"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := readFile(t, write(t, tc.files), "f", reader())
			switch tc.want {
			case "":
				if !strings.Contains(got, "is too long: a text with variables has up to 4096 bytes and 100 of them in braces") {
					t.Errorf("got %s", got)
				}
			case "*":
				if strings.Count(got, "is left out: it is built") != 200 {
					t.Errorf("got %.200s", got)
				}
			default:
				compare(t, got, tc.want)
			}
		})
	}
}

// TestDotEnv: the syntax of files of variables, with statements over several lines.
func TestDotEnv(t *testing.T) {
	const text = "\ufeff# a comment: it's none\n\nexport A=a # b\nB='$A\n=\\'b' # \"c\nC: \"${A}-\n\\\"x\"\nTAG=weaker\nD=${TAG}${B:+d}\nTAG\nE=\nF=${E:-${NONE-f}}\nA=again"
	for image, want := range map[string]string{
		"x:$A": "f:1 x:again", "x:${D}": "f:1 x:1.2d", "x:$F": "f:1 x:f", "$C": "f:1 a-\n\"x", "${B}": "f:1 $A\n='b", "x:${E:-e}": "f:1 x:e",
	} {
		compare(t, readFile(t, write(t, map[string]string{"f": "services: {a: {image: \"" + image + "\"}}\n", ".env": text}), "f", reader()), want)
	}
	for text, want := range map[string]string{
		"A=1\n\nB C=2\n": ".env:3: is no variable with its value", "A=1\nB=\"x\ny\n": ".env:2: is no variable with its value",
	} {
		compare(t, readFile(t, write(t, map[string]string{"f": "services: {a: {image: a}}\n", ".env": text}), "f", reader()), want)
	}
}

// TestDotEnvIsFound: .env is not named by the user. It counts only if no other user
// can have written it, and what is no file is as none.
func TestDotEnvIsFound(t *testing.T) {
	const text = "services: {a: {image: \"a:${TAG_OF:-none}\"}}\n"
	folder := write(t, map[string]string{"f": text, ".env/x": ""})
	compare(t, readFile(t, folder, "f", reader()), "f:1 a:none")
	open := write(t, map[string]string{"f": text, ".env": "TAG_OF=1\n"})
	compare(t, readFile(t, open, "f", reader()), "f:1 a:1")
	if err := os.Chmod(filepath.Join(open, ".env"), 0o666); err != nil {
		t.Fatal(err)
	}
	if got := readFile(t, open, "f", reader()); !strings.HasPrefix(got, "f:1 a:none\nnote: .env is left out: it can be written by every user (mode 0666); ") {
		t.Errorf("got %s", got)
	}
	if os.Geteuid() == 0 { // only root can give a file away
		for uid, want := range map[int]string{0: "f:1 a:1", 1000: "f:1 a:none\nnote: .env is left out: it belongs to uid 1000; root reads"} {
			other := write(t, map[string]string{"f": text, ".env": "TAG_OF=1\n"})
			if err := os.Chown(filepath.Join(other, ".env"), uid, uid); err != nil {
				t.Fatal(err)
			}
			if got := readFile(t, other, "f", reader()); !strings.HasPrefix(got, want) {
				t.Errorf("of uid %d: got %s", uid, got)
			}
		}
	}
	large := write(t, map[string]string{"f": text, ".env": strings.Repeat("#\n", list.MaxList/2+1)})
	compare(t, readFile(t, large, "f", reader()), ".env: has more than 4194304 bytes")
}

// TestImagesAreBounded: aliases name more images than can be listed.
func TestImagesAreBounded(t *testing.T) {
	containers := "containers: [&a {image: x}" + strings.Repeat(",*a", 100_000) + "]\n"
	compare(t, readText(t, containers), "f:1: more than 100000 images are named up to here")
}

// TestReadEnds: the end of the context ends reading, with its cause.
func TestReadEnds(t *testing.T) {
	stop := errors.New("interrupted")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(stop)
	for _, text := range []string{"FROM a\n", "services: {a: {image: a}}\n", "include: [g]\n", "kind: Pod\n"} {
		if _, err := reader().Read(ctx, filepath.Join(write(t, map[string]string{"f": text}), "f")); !errors.Is(err, stop) {
			t.Errorf("%q: got %v, want the cause", text, err)
		}
	}
}

func TestDockerfiles(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"one stage", "FROM debian:12\nRUN true\n", "f:1 debian:12"},
		{"stages", "FROM golang:1.26 AS build\nFROM build as test\nFROM scratch\nCOPY --from=build /a /a\nCOPY --from=0 /b /b\n", "f:1 golang:1.26"},
		{"images to copy from", "FROM alpine\nCOPY --chown=1 --from=busybox:1 /bin/sh /bin/\nCOPY a b\n", "f:1 alpine\nf:2 busybox:1"},
		{"mounts", "FROM alpine\nRUN --mount=type=cache,target=/c \\\n    --mount=type=bind,from=tools:1,target=/t make\n", "f:1 alpine\nf:2 tools:1"},
		{"arguments", "ARG BASE=debian\nARG TAG=12\nARG NAME=${BASE}:${TAG}\nFROM $NAME\nARG BASE=other\nFROM ${BASE}:${TAG:-11}-slim\n", "f:4 debian:12\nf:6 debian:12-slim"},
		{"directives", "# syntax=docker/dockerfile:1\n# escape=`\nFROM a `\n  AS b\nRUN c:\\\nFROM d\n", "f:3 a\nf:6 d"},
		{"lines that go on", "from \\\n# a comment\n\n  debian:12 \\\n  AS x\n", "f:1 debian:12"},
		{"heredocs", "FROM a\nRUN <<EOF\nFROM b\nEOF\nCOPY <<-\"X\" /x\n\tFROM c\n\tX\nFROM d\n", "f:1 a\nf:8 d"},
		{"several heredocs", "FROM a\nRUN cat <<A 3<<-'B' >/x\n\tA\nB\nA\nFROM b\n\t\tB\nFROM d\n", "f:1 a\nf:8 d"},
		{"a heredoc in later lines", "FROM a\nRUN x && \\\n  cat <<A-1.txt\nFROM b\nA-1.txt\nFROM c\n", "f:1 a\nf:6 c"},
		{"tabs before an end", "FROM a\nRUN <<A\n\tA\nFROM b\nA\nFROM c\n", "f:1 a\nf:6 c"},
		{"no heredocs", "FROM a\nRUN cat <<<word\nRUN echo $((1 << X))\nRUN echo \"a <<EOF\" 'b <<EOF' \\\\\nRUN [\"sh\", \"-c\", \"cat <<EOF\"]\nRUN echo \\\" <<EOF\\\"\nRUN it's <<EOF\nRUN <<'EOF\nENV A <<EOF\nCOPY a<<EOF b\nFROM b\n", "f:1 a\nf:11 b"},
		{"flags of what runs", "FROM a\nRUN docker --mount=from=b --from=c x\nCOPY x --from=d y\n", "f:1 a"},
		{"words that go on", "FROM deb\\\nian:1\nRUN --mount=type=bind,\\\nfrom=tools:1 make\n", "f:1 debian:1\nf:3 tools:1"},
		{"a heredoc without end", "FROM a\nRUN \\\n <<-EOF\n EOF\nFROM b\n", `f:2: no line "EOF" ends the text that begins here`},
		{"platforms", "FROM --platform=$BUILDPLATFORM a AS b\nFROM --platform=linux/arm64 c\n", "f:1 a\nf:2 c platform=linux/arm64"},
		{"later builds", "FROM a\nONBUILD COPY --from=b /c /c\n", "f:1 a\nf:2 b"},
		{"stages in other letters", "FROM a AS Build\nFROM build\nCOPY --from=BUILD x y\n", "f:1 a"},
		{"Windows", "\ufeff# c\r\nFROM mcr.example.com/nano:1 \\\r\n AS x\r\n", "f:2 mcr.example.com/nano:1"},
		{"no value", "ARG BASE\nFROM ${BASE}\n", `f:2: "${BASE}": BASE has no value | give it a value by ARG before the first FROM, or name the image itself`},
		{"no image", "FROM\n", `f:1: FROM "": want an image, and perhaps AS and a name`},
		{"too many words", "FROM a b\n", `f:1: FROM "a b": want an image, and perhaps AS and a name`},
		{"lines that only go on", "FROM a\n\\\n", "f:1 a"},
		{"nothing but lines that go on", "FROM a\n \\\n\\\n\t\nFROM b\n\\", "f:1 a\nf:2 b"},
		{"an instruction for later without one", "FROM a\nONBUILD\n", "f:1 a"},
		{"only arguments", "ARG A=b\n", "f: the Dockerfile has no FROM"},
	} {
		t.Run(tc.name, func(t *testing.T) { compare(t, readText(t, tc.text), tc.want) })
	}
}

// TestTarget: arguments of the platform follow that which is asked for.
func TestTarget(t *testing.T) {
	const text = "ARG A=$TARGETPLATFORM-$TARGETOS-$TARGETARCH-$TARGETVARIANT\nFROM a:${A}\nFROM a:$BUILDOS\n"
	for target, want := range map[string]string{"linux/arm/v7": "linux/arm/v7-linux-arm-v7", "windows/amd64": "windows/amd64-windows-amd64-"} {
		r := reader()
		r.Target = target
		compare(t, readFile(t, write(t, map[string]string{"f": text}), "f", r), "f:2 a:"+want+"\nf:3 a:linux")
	}
}

// FuzzRead: whatever a file holds, it is read or its mistake is told, with places
// within it.
func FuzzRead(f *testing.F) {
	for _, s := range []string{composeText, workload("Deployment", "spec.template.spec"), "{\"kind\":\"Pod\",\"spec\":{\"containers\":[{\"image\":\"a\"}]}}", "ARG A=b\nFROM $A AS c\nCOPY --from=c a b\nRUN <<E\nE\n", "a: &a [*a]", "services: {a: {<<: [*x], image: b}}", "FROM a\n\\\n", "FROM a\nRUN <<A <<-'B'\nA\n\tB\nCOPY <<C", "ARG A=xxxx\nARG B=$A$A\nFROM ${B:-${A}}\n", "include: [\"-\"]", "services: {a: {extends: {file: \"-\"}}}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r := reader("spec.*.image")
		r.Stdin = func() ([]byte, error) { return []byte(s), nil }
		found, err := r.Read(t.Context(), list.Stdin)
		if err != nil {
			if wrong, ok := errors.AsType[*list.Error](err); ok && wrong.File == "stdin" && wrong.Line > strings.Count(s, "\n")+2 {
				t.Fatalf("got line %d of %d: %v", wrong.Line, strings.Count(s, "\n")+1, err)
			}
			return
		}
		for _, e := range found.Entries {
			if e.File == "stdin" && (e.Line < 1 || e.Line > strings.Count(s, "\n")+1) {
				t.Fatalf("got %q at %s", e.Ref, e.Place)
			}
		}
	})
}
