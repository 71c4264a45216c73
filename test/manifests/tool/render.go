package main

import (
	"sort"
	"strings"

	"helm.sh/helm/v4/pkg/chart/common"
	chartutil "helm.sh/helm/v4/pkg/chart/common/util"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	"helm.sh/helm/v4/pkg/strvals"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// `kubectl kustomize DIRECTORY`
func buildKustomization(directory string) (string, error) {
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), directory)
	if err != nil {
		return "", err
	}
	text, err := resources.AsYaml()
	return string(text), err
}

// `helm dependency build` for what lies in a directory, then `helm template RELEASE CHART --set KEY=VALUE…`
func renderChart(directory, release string, sets []string) (string, error) {
	app, err := loader.LoadDir(directory)
	if err != nil {
		return "", err
	}
	if err := app.Validate(); err != nil {
		return "", err
	}
	for _, dependency := range app.Metadata.Dependencies {
		path := directory + "/" + strings.TrimPrefix(dependency.Repository, "file://")
		library, err := loader.LoadDir(path)
		if err != nil {
			return "", err
		}
		if err := library.Validate(); err != nil {
			return "", err
		}
		app.AddDependency(library)
	}
	values := map[string]any{}
	for _, set := range sets {
		if err := strvals.ParseInto(set, values); err != nil {
			return "", err
		}
	}
	options := common.ReleaseOptions{Name: release, Namespace: "streams", IsInstall: true}
	render, err := chartutil.ToRenderValues(app, values, options, nil)
	if err != nil {
		return "", err
	}
	return renderAll(app, render)
}

func renderAll(app *chart.Chart, values common.Values) (string, error) {
	files, err := engine.Render(app, values)
	if err != nil {
		return "", err
	}
	names := make([]string, 0, len(files))
	for name, text := range files {
		if strings.HasSuffix(name, ".yaml") && strings.TrimSpace(text) != "" {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	var out strings.Builder
	for _, name := range names {
		out.WriteString("---\n# Source: " + name + "\n" + files[name] + "\n")
	}
	return out.String(), nil
}
