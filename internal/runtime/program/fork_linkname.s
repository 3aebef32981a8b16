// This file is empty. It lets fork.go declare functions without a body.
