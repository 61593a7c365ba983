package complete

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/containerd-pull/containerd-pull/pkg/config"
	"github.com/containerd-pull/containerd-pull/pkg/registry"
	"github.com/containerd-pull/containerd-pull/pkg/registry/credential"
	"github.com/containerd-pull/containerd-pull/pkg/source"
	"github.com/containerd-pull/containerd-pull/pkg/userfile"
)

// remote asks a registry as a pull would, or returns what it answered within
// the last answerAge. On failure it returns what it has, which may be nothing.
func (k *completer) remote(ctx context.Context, cfg *config.Config, kind string, ref source.Ref, list func(context.Context, *registry.Registry) ([]string, error)) []string {
	find, err := k.credentials(cfg)
	if err != nil {
		return nil
	}
	o := cfg.Registry
	o.UserAgent = k.UserAgent
	o.Credentials = find
	o.Retry.Count = -1
	o.StallTimeout = candidateTime
	reg, err := registry.New(o)
	if err != nil {
		return nil
	}
	remembered := answers{dir: k.Caller.CacheHome(), now: k.Caller.Now}
	key, err := identify(ctx, cfg, kind, reg, find, ref)
	if err != nil {
		remembered.dir = ""
	}
	if names, ok := remembered.get(key); ok {
		return names
	}
	names, err := list(ctx, reg)
	if err == nil {
		remembered.put(key, names)
	}
	return names
}

// credentials returns the credentials of a pull, each looked up once. A
// password that would have to be asked for is an error.
func (k *completer) credentials(cfg *config.Config) (credential.Finder, error) {
	own, err := typedCredential(cfg.Login)
	if err != nil {
		return nil, err
	}
	o := cfg.CredentialOptions(k.Caller, own)
	o.Detached = true
	find, err := credential.New(o)
	if err != nil {
		return nil, err
	}
	return once(find), nil
}

func typedCredential(l config.Login) (*credential.Credential, error) {
	name, password, ok := strings.Cut(l.User, ":")
	switch {
	case l.Refresh != "":
		return &credential.Credential{IdentityToken: l.Refresh, Source: "command line"}, nil
	case l.User+l.Username == "":
		return nil, nil
	case !ok || l.Username != "" || l.PasswordStdin:
		return nil, errors.New("the password has to be asked for")
	}
	return &credential.Credential{Username: name, Password: password, Source: "command line"}, nil
}

// once returns find with a memory.
func once(find credential.Finder) credential.Finder {
	var mu sync.Mutex
	type answer struct {
		cred credential.Credential
		err  error
	}
	found := map[string]answer{}
	return func(ctx context.Context, host string, ref source.Ref) (credential.Credential, error) {
		mu.Lock()
		defer mu.Unlock()
		key := host + "/" + ref.Path
		a, ok := found[key]
		if !ok {
			a.cred, a.err = find(ctx, host, ref)
			found[key] = a
		}
		return a.cred, a.err
	}
}

// identify returns the key of a question: what is asked, of which hosts, and as
// which user. Secrets are not part of it, not even hashed.
func identify(ctx context.Context, cfg *config.Config, kind string, reg *registry.Registry, find credential.Finder, ref source.Ref) (string, error) {
	hosts, err := reg.Hosts(ctx, ref)
	if err != nil {
		return "", err
	}
	parts := []string{kind, ref.String(), cfg.Profile}
	for _, h := range hosts {
		if !h.Resolve {
			continue
		}
		cred, err := find(ctx, h.Name, ref)
		if err != nil {
			return "", err
		}
		parts = append(parts, h.URL(), cred.Source, cred.Username)
	}
	text, err := json.Marshal(parts)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), nil
}

// answers is a cache of what registries answered lately, with one file for each
// question. They hold names of repositories, tags and platforms, and no secrets.
type answers struct {
	dir string // the user's cache folder; empty if nothing is to be remembered
	now time.Time
}

const (
	answerAge   = 60 * time.Second
	answerBytes = 4 << 20
)

// open opens the folder of the cache, which it makes if makes is set. The names below
// the user's cache folder must be folders of the caller's own and no links: what is old
// in the folder is deleted.
func (a answers) open(makes bool) (*os.File, error) {
	if a.dir == "" { // nothing is to be remembered
		return nil, fs.ErrNotExist
	}
	folder, err := os.Open(a.dir)
	for _, name := range cacheNames() {
		if err == nil && makes {
			_ = unix.Mkdirat(int(folder.Fd()), name, 0o700) // what is wrong shows next
		}
		if err == nil {
			folder, err = ownFolder(folder, name)
		}
	}
	return folder, err
}

// cacheNames lead from the user's cache folder to that of the answers.
func cacheNames() []string { return []string{"containerd-pull", "completion"} }

// ownFolder opens the folder name in parent, which it closes.
func ownFolder(parent *os.File, name string) (*os.File, error) {
	defer parent.Close()
	fd, err := unix.Openat(int(parent.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	// By this name the folder is found wherever it is by then.
	folder := os.NewFile(uintptr(fd), "/proc/self/fd/"+strconv.Itoa(fd))
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || int(st.Uid) != os.Geteuid() {
		return nil, errors.Join(err, fs.ErrPermission, folder.Close())
	}
	return folder, nil
}

// isOwn reports whether dir, or the nearest folder above it that exists, is the
// caller's. In the home of another user, as under sudo -E, nothing is made.
func isOwn(dir string) bool {
	var st unix.Stat_t
	err := unix.Stat(dir, &st)
	for errors.Is(err, fs.ErrNotExist) && dir != filepath.Dir(dir) {
		dir = filepath.Dir(dir)
		err = unix.Stat(dir, &st)
	}
	return err == nil && int(st.Uid) == os.Geteuid()
}

func (a answers) get(key string) ([]string, bool) {
	folder, err := a.open(false)
	if err != nil {
		return nil, false
	}
	defer folder.Close()
	f, err := os.OpenFile(filepath.Join(folder.Name(), key), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, false
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !a.fresh(info) {
		return nil, false
	}
	text, err := io.ReadAll(io.LimitReader(f, answerBytes))
	return strings.Fields(string(text)), err == nil
}

func (a answers) fresh(info os.FileInfo) bool {
	age := a.now.Sub(info.ModTime())
	return age > -answerAge && age < answerAge
}

// put remembers an answer and forgets the old ones. A cache that cannot be
// written is no error: the next completion asks again.
func (a answers) put(key string, names []string) {
	if a.dir == "" || !isOwn(a.dir) || userfile.MakeFolder(filepath.Join(a.dir, cacheNames()[0])) != nil {
		return
	}
	folder, err := a.open(true)
	if err != nil {
		return
	}
	defer folder.Close()
	entries, err := folder.ReadDir(-1)
	if err != nil {
		return
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && !a.fresh(info) {
			_ = os.Remove(filepath.Join(folder.Name(), e.Name()))
		}
	}
	_ = userfile.Write(filepath.Join(folder.Name(), key), []byte(strings.Join(names, "\n")), 0o600)
}
