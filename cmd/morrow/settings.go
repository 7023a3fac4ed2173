package main

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/magiconair/properties"
	"github.com/spf13/cast"
	"github.com/spf13/viper"

	"github.com/morrowmq/morrow/cluster/config"
)

const (
	// envPrefix begins the name of every environment variable that is a broker config.
	envPrefix = "MORROW_"
	// configEnv names the config file.
	configEnv = "MORROW_CONFIG"
)

// loadConfig merges file, environment and flags, the later winning, and validates the result. The
// error has one line for every key that is unknown or whose value is refused: where it was set, and
// what was expected.
func loadConfig(file string, environ []string, flags config.Values) (config.Values, error) {
	merged := config.Values{}
	var errs []error
	take := func(source string, from config.Values, problems []error) {
		for _, err := range problems {
			errs = append(errs, fmt.Errorf("%s: %w", source, err))
		}
		for _, k := range sortedKeys(from) {
			if err := config.ScopeBroker.Validate(k, from[k]); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", source, err))
			}
		}
		override(merged, from)
	}
	if file != "" {
		v, problems := readFile(file)
		take(file, v, problems)
	}
	v, problems := readEnviron(environ)
	take("environment", v, problems)
	take("flags", flags, nil)
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return merged, config.ValidateBrokerSet(merged)
}

// override puts later values over earlier ones. log.dirs says the same as log.dir and would win
// over one that was set later.
func override(merged, from config.Values) {
	if _, ok := from["log.dir"]; ok {
		delete(merged, "log.dirs")
	}
	for k, v := range from {
		merged[k] = v
	}
}

// fileKinds are the kinds of config files, by extension.
var fileKinds = map[string]string{".yaml": "yaml", ".yml": "yaml", ".json": "json", ".toml": "toml", ".properties": "properties"}

// readFile reads a YAML, JSON, TOML or properties file. Keys may be written flat
// (log.retention.hours: 24) or nested.
func readFile(name string) (config.Values, []error) {
	kind, ok := fileKinds[strings.ToLower(filepath.Ext(name))]
	if !ok {
		return nil, []error{errors.New("unknown kind of file: its name must end in .yaml, .json, .toml or .properties")}
	}
	codecs := viper.NewCodecRegistry()
	if err := codecs.RegisterCodec("properties", javaProperties{}); err != nil {
		return nil, []error{err}
	}
	v := viper.NewWithOptions(viper.KeyDelimiter(nesting), viper.WithCodecRegistry(codecs))
	v.SetConfigFile(name)
	v.SetConfigType(kind)
	if err := v.ReadInConfig(); err != nil {
		return nil, []error{fileError(err)}
	}
	values := config.Values{}
	var problems []error
	for _, k := range slices.Sorted(slices.Values(v.AllKeys())) {
		name := strings.ReplaceAll(k, nesting, ".")
		if _, twice := values[name]; twice {
			problems = append(problems, fmt.Errorf("config %s is set twice", name))
		}
		value, err := spelled(v.Get(k))
		if err != nil {
			problems = append(problems, fmt.Errorf("invalid value for config %s: %w", name, err))
			continue
		}
		values[name] = value
	}
	return values, problems
}

// nesting separates the keys of nested sections while they are read; Kafka's names have dots.
const nesting = "\x00"

// spelled is a value as Kafka spells it.
func spelled(value any) (string, error) {
	if value == nil {
		return "", errors.New("must not be null")
	}
	if list, ok := value.([]any); ok {
		items, err := cast.ToStringSliceE(list)
		if err != nil {
			return "", errors.New("must be a list of plain values")
		}
		return strings.Join(items, ","), nil
	}
	s, err := cast.ToStringE(value)
	if err != nil {
		return "", errors.New("must be a plain value")
	}
	return s, nil
}

// fileError leaves out what the caller says already, and puts the rest on one line.
func fileError(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	var parse viper.ConfigParseError
	if errors.As(err, &parse) {
		err = parse.Unwrap()
	}
	return errors.New(strings.Join(strings.Fields(err.Error()), " "))
}

// javaProperties lets viper read the files that Kafka's users have.
type javaProperties struct{}

func (javaProperties) Encode(map[string]any) ([]byte, error) {
	return nil, errors.New("properties files are only read")
}

func (javaProperties) Decode(b []byte, into map[string]any) error {
	// A value is what it says: ${…} means nothing, as in Kafka.
	l := properties.Loader{Encoding: properties.UTF8, DisableExpansion: true}
	p, err := l.LoadBytes(b)
	if err != nil {
		return err
	}
	for _, k := range p.Keys() {
		into[k], _ = p.Get(k)
	}
	return nil
}

// readEnviron finds the variables that name a broker config. Others with our prefix are refused, since
// they are typing errors, but for those a container platform makes for a service called morrow.
func readEnviron(environ []string) (config.Values, []error) {
	names := make(map[string]string)
	for _, d := range config.Broker() {
		names[envName(d.Name)] = d.Name
	}
	values := config.Values{}
	var problems []error
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		if !strings.HasPrefix(name, envPrefix) || name == configEnv || name == bootstrapEnv || name == httpEnv {
			continue
		}
		if key, ok := names[name]; ok {
			values[key] = value
		} else if !platformMade(name) {
			problems = append(problems, unknownVariable(name))
		}
	}
	return values, problems
}

// unknownVariable says which config a variable may have been meant for.
func unknownVariable(name string) error {
	key := strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(name, envPrefix), "_", "."))
	var unknown *config.UnknownKeyError
	if errors.As(config.ScopeBroker.Validate(key, ""), &unknown) && unknown.Nearest != "" {
		return fmt.Errorf("%s names no config (did you mean %s?)", name, envName(unknown.Nearest))
	}
	return fmt.Errorf("%s names no config", name)
}

func envName(key string) string {
	return envPrefix + strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(key))
}

// platformMade reports whether a variable is one of those Kubernetes and Docker set for a service
// named morrow, with or without a suffix.
func platformMade(name string) bool {
	return strings.Contains(name, "_SERVICE_") || strings.Contains(name, "_PORT_") || strings.HasSuffix(name, "_PORT")
}
