package layer

import (
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// maxLinks is how many links the oracle follows in one name.
	maxLinks = 255
	// kernelLinks is how many links Linux follows in one name.
	kernelLinks = 40

	resolveDir     = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS
	resolveBeneath = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS
	linkFlags      = unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC
)

// resolve rewrites name until no link is left in it and returns it as a path
// below the root. What does not exist counts as a directory that is to be made.
//
// It gives the answers of containerd's fs.RootPath, whose rules are: links are
// replaced one level per pass; ".." takes away the name before it, even if that
// is a link or missing; a relative link's target is cleaned at once, unless
// name begins with the link and without a slash; and once a link was replaced,
// what follows is looked up through it, but joined to it by name.
func (t *tree) resolve(name string) (string, error) {
	for links := 0; ; {
		before := links
		next, err := t.pass(name, &links)
		if err != nil {
			return "", err
		}
		if links == before {
			return path.Clean("/" + next)[1:], nil
		}
		name = next
	}
}

// pass replaces each link in name once. Below a name that is missing everything
// else is taken to be missing: looking it up would take as many calls as a hostile
// name can grow parts.
func (t *tree) pass(name string, links *int) (string, error) {
	done, missing := "", "-"
	if strings.HasPrefix(name, "/") {
		done = "/"
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" {
			continue
		}
		if *links > maxLinks {
			return "", unix.ELOOP
		}
		here := path.Join("/", done, part)
		if within(here, missing) {
			done = here
			continue
		}
		target, err := t.readlink(here[1:])
		if err == unix.ENOENT {
			missing, err = here, nil
		}
		if err != nil {
			return "", err
		}
		switch {
		case target == "":
			done = here
			continue
		case done == "" || target[0] == '/':
			done = target
		default:
			done = path.Join(done, target)
		}
		*links++
	}
	return done, nil
}

// readlink returns the target of the link at p, or "" if p is no link. Links on
// the way to p are followed as the kernel does; where they leave the root, the
// error is ENOENT too.
func (t *tree) readlink(p string) (string, error) {
	if p == "" {
		return "", nil
	}
	fd, err := t.peek(p)
	if err == unix.EXDEV {
		err = unix.ENOENT
	}
	if err != nil {
		return "", err
	}
	defer t.sys.Close(fd)
	return t.sys.Readlink(fd)
}

// peek opens p, which is clean and may be a link, as a handle only.
func (t *tree) peek(p string) (int, error) {
	if t.openat2 {
		return openat2(t.root.fd, p, resolveBeneath, linkFlags)
	}
	if len(p) >= unix.PathMax {
		return -1, unix.ENAMETOOLONG
	}
	w := walk{sys: t.sys, places: []int{t.root.fd}}
	defer w.close()
	return w.to(strings.Split(p, "/"))
}

// walk does in steps what RESOLVE_BENEATH does at once.
type walk struct {
	sys    Reader
	places []int // handles from the root to the present directory
	links  int
}

func (w *walk) here() int { return w.places[len(w.places)-1] }

func (w *walk) close() {
	for _, fd := range w.places[1:] {
		_ = w.sys.Close(fd)
	}
}

// to opens what parts lead to. The last part is not followed; a way out of the
// root is EXDEV.
func (w *walk) to(parts []string) (int, error) {
	for {
		part := parts[0]
		parts = parts[1:]
		switch part {
		case ".": // not a place of its own for ".." to leave
			continue
		case "..":
			if err := w.up(); err != nil {
				return -1, err
			}
			continue
		}
		fd, err := w.sys.Peek(w.here(), part)
		if err != nil || len(parts) == 0 {
			return fd, err
		}
		target, err := w.into(fd)
		if err != nil {
			return -1, err
		}
		if target != "" {
			parts = append(strings.FieldsFunc(target, isSlash), parts...)
		}
	}
}

func isSlash(r rune) bool { return r == '/' }

func (w *walk) up() error {
	if len(w.places) == 1 {
		return unix.EXDEV
	}
	_ = w.sys.Close(w.here())
	w.places = w.places[:len(w.places)-1]
	return nil
}

// into makes fd the present directory, or returns its target if it is a link.
func (w *walk) into(fd int) (string, error) {
	target, err := w.sys.Readlink(fd)
	if target == "" && err == nil {
		w.places = append(w.places, fd)
		return "", nil
	}
	_ = w.sys.Close(fd)
	if target != "" {
		w.links++
	}
	switch {
	case err != nil:
		return "", err
	case w.links > kernelLinks:
		return "", unix.ELOOP
	case target[0] == '/':
		return "", unix.EXDEV
	}
	return target, nil
}
