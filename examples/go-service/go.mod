module example.org/order-gate

go 1.25.0

toolchain go1.26.10

require golang.org/x/time v0.12.0
