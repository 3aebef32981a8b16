// Package guest tests what the engine does with cgroups and the kernel's newer
// features, from outside, on whatever machine it runs: the one that builds, or a
// virtual machine of test/vm.
package guest
