// The programs that the checks use, in their own module: none of them is a dependency of the service.
module example.org/order-gate/checks

go 1.25.0

tool (
	example.org/order-gate/checks/licences
	github.com/boumenot/gocover-cobertura
	gotest.tools/gotestsum
)

require github.com/google/licensecheck v0.3.1

require (
	github.com/bitfield/gotestdox v0.2.2 // indirect
	github.com/boumenot/gocover-cobertura v1.4.0 // indirect
	github.com/dnephin/pflag v1.0.7 // indirect
	github.com/fatih/color v1.18.0 // indirect
	github.com/fsnotify/fsnotify v1.9.0 // indirect
	github.com/google/shlex v0.0.0-20191202100458-e7afc7fbc510 // indirect
	github.com/mattn/go-colorable v0.1.13 // indirect
	github.com/mattn/go-isatty v0.0.20 // indirect
	golang.org/x/mod v0.27.0 // indirect
	golang.org/x/sync v0.17.0 // indirect
	golang.org/x/sys v0.36.0 // indirect
	golang.org/x/term v0.35.0 // indirect
	golang.org/x/text v0.17.0 // indirect
	golang.org/x/tools v0.36.0 // indirect
	gotest.tools/gotestsum v1.13.0 // indirect
)
