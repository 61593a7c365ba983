package source

// DockerHub is the one name of Docker Hub.
const DockerHub = "docker.io"

// CanonicalHost gives the hosts of Docker Hub their one name.
func CanonicalHost(host string) string {
	switch host {
	case "index.docker.io", "registry-1.docker.io":
		return DockerHub
	}
	return host
}
