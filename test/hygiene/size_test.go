package hygiene

import (
	"go/ast"
	"strings"
	"testing"
)

const (
	maxPackage  = 1500 // lines; the aim is 1,200
	maxFile     = 600  // lines
	maxFunction = 100  // lines; the aim is 50
	maxMethods  = 30   // exported and not, of one type; the aim is 20
)

// larger lists what may be larger than the limits, and why.
var larger = map[string]string{}

func TestSizes(t *testing.T) {
	over := map[string]bool{}
	report := func(what string, got, limit int) {
		if got <= limit {
			return
		}
		over[what] = true
		if larger[what] == "" {
			t.Errorf("%s: %d, the limit is %d: split it by job, or give the reason in this test's table", what, got, limit)
		}
	}
	for _, p := range packages(t) {
		total := 0
		methods := map[string]int{}
		for _, f := range p.files {
			total += f.lines
			report(f.name, f.lines, maxFile)
			for _, d := range f.ast.Decls {
				fn, ok := d.(*ast.FuncDecl)
				if !ok {
					continue
				}
				lines := fset.Position(fn.End()).Line - fset.Position(fn.Pos()).Line
				report(f.name+" "+fn.Name.Name, lines, maxFunction)
				if fn.Recv != nil {
					methods[receiver(fn.Recv.List[0].Type)]++
				}
			}
		}
		report(p.path, total, maxPackage)
		for typ, n := range methods {
			report(p.path+"."+typ+" methods", n, maxMethods)
		}
	}
	for what := range larger {
		if !over[what] {
			t.Errorf("%s is within the limits again: delete its exception", what)
		}
	}
}

func receiver(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	default:
		return "?"
	}
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	for _, p := range packages(t) {
		doc := ""
		for _, f := range p.files {
			if f.ast.Doc != nil {
				doc += f.ast.Doc.Text()
			}
		}
		if len(strings.Fields(doc)) < 5 {
			t.Errorf("%s has no package documentation", p.path)
		}
	}
}
