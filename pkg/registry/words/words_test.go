package words_test

import (
	"strings"
	"testing"

	"github.com/containerd-pull/containerd-pull/pkg/registry/words"
)

// TestIn reads what registries and stores write about an error.
func TestIn(t *testing.T) {
	for body, want := range map[string][2]string{
		"":    {"", ""},
		" \n": {"", ""},
		`{"errors":[{"code":"DENIED","message":"requested access  to\nthe resource is denied"}]}`: {"DENIED", "requested access to the resource is denied"},
		`{"errors":[{"status":429,"message":"Too Many Requests"}]}`:                               {"", "Too Many Requests"}, // Artifactory
		`{"statusCode":401,"details":"BAD_CREDENTIAL"}`:                                           {"", "BAD_CREDENTIAL"},    // registry-image-resource#47
		`{"details":"incorrect username or password"}`:                                            {"", "incorrect username or password"},
		`{"code":403,"message":"no"}`:                                                             {"403", "no"},
		`{"error":"invalid_client","error_description":"who?"}`:                                   {"", "who?"},
		`{"errors":["late"]}`:                                                                     {"", "late"},
		`["late"]`:                                                                                {"", "late"},
		`{"errors":[]}`:                                                                           {"", ""},
		`{broken`:                                                                                 {"", ""},
		"Not Authorized\n":                                                                        {"", "Not Authorized"}, // ecr#7
		"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>":                     {"AccessDenied", "Access Denied"}, // moby#34185
		"<html><head><title>429 Too Many Requests</title></head><body><center>nginx<hr></body></html>": {"", "429 Too Many Requests"},
		"<html":                    {"", ""},
		strings.Repeat("long", 90): {"", strings.Repeat("long", 75)[:299] + "…"},
	} {
		code, message := words.In([]byte(body))
		if code != want[0] || message != want[1] {
			t.Errorf("%q: got %q and %q, want %q", body, code, message, want)
		}
	}
}
