package progress_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/progress/internal/scene"
)

// objects decodes a stream and checks what all events have in common.
func objects(t *testing.T, text string) []map[string]any {
	t.Helper()
	var all []map[string]any
	for line := range strings.Lines(text) {
		var object map[string]any
		if err := json.Unmarshal([]byte(line), &object); err != nil {
			t.Fatalf("decoding line %q: %v", line, err)
		}
		if object["v"] != 1.0 {
			t.Errorf("got version %v in %q, want 1", object["v"], line)
		}
		all = append(all, object)
	}
	return all
}

func TestJSON(t *testing.T) {
	want := `
{"v":1,"time":"2026-01-05T10:00:00.000Z","event":"start","refs":["docker.io/library/debian:latest"],"engine":"client"}
{"v":1,"time":"2026-01-05T10:00:00.412Z","event":"resolve","ref":"docker.io/library/debian:latest","digest":"sha256:3f1d6c17773a45c97bd8f158d665c9709d7b29ed7917ac934086ad96f92e4510","mediaType":"application/vnd.oci.image.index.v1+json","host":"registry-1.docker.io","status":"Pulling from library/debian","id":"latest"}
{"v":1,"time":"2026-01-05T10:00:00.890Z","event":"fetch.start","ref":"docker.io/library/debian:latest","digest":"sha256:64bb0415b0a1e194a91c7b2fdf50404a1e5aef69aaf39d1548b690e06fc5d4d3","kind":"layer","size":48484352,"offset":0,"host":"registry-1.docker.io","status":"Pulling fs layer","id":"64bb0415b0a1","progressDetail":{}}
{"v":1,"time":"2026-01-05T10:00:01.900Z","event":"fetch.progress","ref":"docker.io/library/debian:latest","digest":"sha256:64bb0415b0a1e194a91c7b2fdf50404a1e5aef69aaf39d1548b690e06fc5d4d3","status":"Downloading","id":"64bb0415b0a1","progressDetail":{"current":20971520,"total":48484352}}
{"v":1,"time":"2026-01-05T10:00:02.100Z","event":"retry","ref":"docker.io/library/debian:latest","digest":"sha256:64bb0415b0a1e194a91c7b2fdf50404a1e5aef69aaf39d1548b690e06fc5d4d3","host":"registry-1.docker.io","attempt":1,"waitMs":250,"reason":"reset","message":"connection reset by peer"}
{"v":1,"time":"2026-01-05T10:00:05.300Z","event":"fetch.done","ref":"docker.io/library/debian:latest","digest":"sha256:64bb0415b0a1e194a91c7b2fdf50404a1e5aef69aaf39d1548b690e06fc5d4d3","size":48484352,"durationMs":4410,"status":"Download complete","id":"64bb0415b0a1","progressDetail":{"hidecounts":true}}
{"v":1,"time":"2026-01-05T10:00:05.400Z","event":"unpack.progress","ref":"docker.io/library/debian:latest","digest":"sha256:64bb0415b0a1e194a91c7b2fdf50404a1e5aef69aaf39d1548b690e06fc5d4d3","status":"Extracting","id":"64bb0415b0a1","progressDetail":{"current":131072000,"total":139438080}}
{"v":1,"time":"2026-01-05T10:00:06.050Z","event":"unpack.done","ref":"docker.io/library/debian:latest","digest":"sha256:64bb0415b0a1e194a91c7b2fdf50404a1e5aef69aaf39d1548b690e06fc5d4d3","chainID":"sha256:321c43651a571d3dddf63d959f7b9695ea0f189527580a6f9a3d60fd153962f0","status":"Pull complete","id":"64bb0415b0a1","progressDetail":{"hidecounts":true}}
{"v":1,"time":"2026-01-05T10:00:06.120Z","event":"digest","ref":"docker.io/library/debian:latest","digest":"sha256:3f1d6c17773a45c97bd8f158d665c9709d7b29ed7917ac934086ad96f92e4510","status":"Digest: sha256:3f1d6c17773a45c97bd8f158d665c9709d7b29ed7917ac934086ad96f92e4510"}
{"v":1,"time":"2026-01-05T10:00:06.120Z","event":"register","ref":"docker.io/library/debian:latest","digest":"sha256:3f1d6c17773a45c97bd8f158d665c9709d7b29ed7917ac934086ad96f92e4510","changed":true,"status":"Status: Downloaded newer image for debian:latest"}
{"v":1,"time":"2026-01-05T10:00:06.134Z","event":"summary","images":1,"failed":0,"bytesFetched":48487936,"bytesReused":0,"retries":1,"durationMs":6134}
`
	got := scene.Encode(scene.Pull()...)
	if diff := cmp.Diff(strings.Split(want[1:], "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("got another stream (-want +got):\n%s", diff)
	}
}

// The error of an image is described by the caller's table, and in Docker's
// words too.
func TestJSONError(t *testing.T) {
	classify := func(err error) progress.Failure {
		return progress.Failure{Code: 7, Class: "network", Host: scene.Hub, Message: "fetching: " + err.Error()}
	}
	failed := progress.Event{Kind: progress.Error, Ref: scene.Debian, Err: fmt.Errorf("bad\nnews")}
	for _, tt := range []struct {
		name     string
		classify func(error) progress.Failure
		want     map[string]any
	}{
		{"classified", classify, map[string]any{"code": 7.0, "class": "network", "host": scene.Hub, "digest": "", "message": "fetching: bad news"}},
		{"not classified", nil, map[string]any{"code": 1.0, "class": "internal", "host": "", "digest": "", "message": "bad news"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			enc := progress.Encoder{Out: &out, Classify: tt.classify}
			enc.Event(folded(failed), failed)
			got := objects(t, out.String())[0]
			if diff := cmp.Diff(tt.want, got["error"]); diff != "" {
				t.Errorf("got another error (-want +got):\n%s", diff)
			}
			docker := map[string]any{"code": tt.want["code"], "message": tt.want["message"]}
			if diff := cmp.Diff(docker, got["errorDetail"]); diff != "" {
				t.Errorf("got another errorDetail (-want +got):\n%s", diff)
			}
			if got["message"] != tt.want["message"] || got["ref"] != scene.Debian {
				t.Errorf("got message %v of ref %v, want %v of %v", got["message"], got["ref"], tt.want["message"], scene.Debian)
			}
		})
	}
}

func TestJSONNames(t *testing.T) {
	pinned := "docker.io/library/ubuntu@" + string(scene.Index)
	for _, tt := range []struct{ ref, status, id, register string }{
		{scene.Debian, "Pulling from library/debian", "latest", "Status: Image is up to date for debian:latest"},
		{pinned, "Pulling from library/ubuntu", pinned, "Status: Image is up to date for ubuntu@" + string(scene.Index)},
		{"quay.io/a/b:v1", "Pulling from a/b", "v1", "Status: Image is up to date for quay.io/a/b:v1"},
		{"oci:DIR", "Pulling from oci:DIR", "", "Status: Image is up to date for oci:DIR"},
	} {
		got := objects(t, scene.Encode(
			progress.Event{Kind: progress.Resolved, Ref: tt.ref, Digest: scene.Index},
			progress.Event{Kind: progress.Registered, Ref: tt.ref, Digest: scene.Index}))
		id, _ := got[0]["id"].(string)
		if got[0]["status"] != tt.status || id != tt.id || got[2]["status"] != tt.register {
			t.Errorf("%s: got %v, %q, %v, want %q, %q, %q", tt.ref, got[0]["status"], id, got[2]["status"], tt.status, tt.id, tt.register)
		}
	}
}

// Docker's words are for layers: a config or manifest has none.
func TestJSONOtherEvents(t *testing.T) {
	got := objects(t, scene.Encode(
		progress.Event{Kind: progress.HostFailed, Ref: scene.Debian, Host: "mirror.example.com", Err: scene.Reset()},
		progress.Event{Kind: progress.HostFailed, Ref: scene.Debian, Host: scene.Hub, Err: scene.Reset()},
		progress.Event{Kind: progress.FetchStart, Ref: scene.Debian, Digest: scene.Nth(1), Blob: progress.Config, Bytes: progress.Bytes{Total: 7}},
		progress.Event{Kind: progress.Planned, Ref: scene.Debian, Digest: scene.Nth(2), Blob: progress.Layer, Bytes: progress.Bytes{Done: 3, Total: 9}},
		progress.Event{Kind: progress.PhaseDone, Ref: scene.Debian, Digest: scene.Nth(2), Phase: progress.Inflate, Duration: time.Second, Bytes: progress.Bytes{Done: 5}},
		progress.Event{Kind: progress.PhaseDone, Ref: scene.Debian, Phase: progress.Resolve, Duration: time.Second},
		progress.Event{Kind: progress.Retry, Ref: scene.Debian, Host: scene.Hub, Attempt: 3, Wait: time.Second, Reason: "dns"},
		progress.Event{Kind: progress.Warning, Message: "slow"},
	))
	want := []map[string]any{
		{"event": "host", "ref": scene.Debian, "host": "mirror.example.com", "mirror": true, "message": scene.Reset().Error()},
		{"event": "host", "ref": scene.Debian, "host": scene.Hub, "mirror": false, "message": scene.Reset().Error()},
		{"event": "fetch.start", "ref": scene.Debian, "digest": string(scene.Nth(1)), "kind": "config", "size": 7.0, "offset": 0.0},
		{"event": "plan", "ref": scene.Debian, "digest": string(scene.Nth(2)), "kind": "layer", "size": 9.0, "offset": 3.0,
			"status": "Waiting", "id": "000200000000", "progressDetail": map[string]any{}},
		{"event": "phase", "ref": scene.Debian, "digest": string(scene.Nth(2)), "phase": "inflate", "durationMs": 1000.0, "bytes": 5.0},
		{"event": "phase", "ref": scene.Debian, "phase": "resolve", "durationMs": 1000.0, "bytes": 0.0},
		{"event": "retry", "ref": scene.Debian, "host": scene.Hub, "attempt": 3.0, "waitMs": 1000.0, "reason": "dns", "message": "dns"},
		{"event": "warning", "message": "slow"},
	}
	for _, object := range got {
		delete(object, "v")
		delete(object, "time")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("got other events (-want +got):\n%s", diff)
	}
}
