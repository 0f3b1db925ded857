"""Cut points and blocks of a backbone, the selection of what trains, and the route of the inputs."""
