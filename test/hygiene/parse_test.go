package hygiene

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

type file struct {
	name  string // below the module's root
	lines int
	ast   *ast.File
	src   string
}

type pkg struct {
	path    string // below the module's root
	files   []file
	imports map[string]bool
}

var fset = token.NewFileSet()

// packages parses all Go files that are not tests, by folder.
func packages(t *testing.T) []*pkg {
	t.Helper()
	byDir := map[string]*pkg{}
	var order []*pkg
	for _, name := range goFiles(t) {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		dir := filepath.ToSlash(filepath.Dir(name))
		p := byDir[dir]
		if p == nil {
			p = &pkg{path: dir, imports: map[string]bool{}}
			byDir[dir] = p
			order = append(order, p)
		}
		f := parse(t, name)
		for _, imp := range f.ast.Imports {
			path, err := strconv.Unquote(imp.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			p.imports[path] = true
		}
		p.files = append(p.files, f)
	}
	return order
}

func parse(t *testing.T, name string) file {
	t.Helper()
	src, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	tree, err := parser.ParseFile(fset, name, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	return file{name: name, lines: strings.Count(string(src), "\n"), ast: tree, src: string(src)}
}

const root = "../.."

// goFiles lists every Go file of the module, relative to its root.
func goFiles(t *testing.T) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && path != root && (strings.HasPrefix(name, ".") || name == "bin" || name == "testdata") {
			return filepath.SkipDir
		}
		if strings.HasSuffix(name, ".go") {
			rel, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			all = append(all, filepath.ToSlash(rel))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 20 {
		t.Fatalf("found only %d Go files: the walk is wrong", len(all))
	}
	return all
}
