package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/magiconair/properties"
	"github.com/spf13/cast"
	"github.com/spf13/viper"

	"github.com/morrowmq/morrow/cluster/config"
)

// envPrefix begins the name of every environment variable that is a broker config.
const envPrefix = "MORROW_"

// loadConfig merges file, environment and flags, the later winning, and validates the result. The
// error names every key that is unknown or whose value is refused, where it was set, and what was expected.
func loadConfig(file string, environ []string, flags config.Values) (config.Values, error) {
	values := config.Values{}
	var errs []error
	take := func(source string, from config.Values, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", source, err))
			return
		}
		for _, k := range sortedKeys(from) {
			if err := config.ScopeBroker.Validate(k, from[k]); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", source, err))
			}
			values[k] = from[k]
		}
	}
	if file != "" {
		v, err := readFile(file)
		take(file, v, err)
	}
	v, err := readEnviron(environ)
	take("environment", v, err)
	take("flags", flags, nil)
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return values, config.ValidateBrokerSet(values)
}

// readFile reads a YAML, JSON, TOML or properties file. Keys may be written flat (log.retention.hours: 24) or nested.
func readFile(name string) (config.Values, error) {
	codecs := viper.NewCodecRegistry()
	if err := codecs.RegisterCodec("properties", javaProperties{}); err != nil {
		return nil, err
	}
	// The delimiter of nested keys must not occur in Kafka's names.
	v := viper.NewWithOptions(viper.KeyDelimiter("\x00"), viper.WithCodecRegistry(codecs))
	v.SetConfigFile(name)
	if ext := filepath.Ext(name); !slices.Contains([]string{".yaml", ".yml", ".json", ".toml", ".properties"}, ext) {
		return nil, fmt.Errorf("unknown kind of file %q: must be .yaml, .json, .toml or .properties", ext)
	}
	if err := v.ReadInConfig(); err != nil {
		return nil, err
	}
	values := config.Values{}
	if err := flatten(values, "", v.AllSettings()); err != nil {
		return nil, err
	}
	return values, nil
}

// flatten joins nested keys with dots and spells every value as Kafka does.
func flatten(values config.Values, prefix string, settings map[string]any) error {
	for k, v := range settings {
		name := prefix + k
		switch v := v.(type) {
		case map[string]any:
			if err := flatten(values, name+".", v); err != nil {
				return err
			}
		case []any:
			items, err := cast.ToStringSliceE(v)
			if err != nil {
				return fmt.Errorf("config %s: must be a list of plain values", name)
			}
			values[name] = strings.Join(items, ",")
		default:
			s, err := cast.ToStringE(v)
			if err != nil {
				return fmt.Errorf("config %s: must be a plain value", name)
			}
			values[name] = s
		}
	}
	return nil
}

// javaProperties lets viper read the files that Kafka's users have.
type javaProperties struct{}

func (javaProperties) Encode(map[string]any) ([]byte, error) {
	return nil, errors.New("properties files are only read")
}

func (javaProperties) Decode(b []byte, into map[string]any) error {
	p, err := properties.Load(b, properties.UTF8)
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
func readEnviron(environ []string) (config.Values, error) {
	names := make(map[string]string)
	for _, d := range config.Broker() {
		names[envName(d.Name)] = d.Name
	}
	values := config.Values{}
	var errs []error
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		if !strings.HasPrefix(name, envPrefix) {
			continue
		}
		if key, ok := names[name]; ok {
			values[key] = value
		} else if !platformMade(name) {
			errs = append(errs, fmt.Errorf("%s names no broker config", name))
		}
	}
	return values, errors.Join(errs...)
}

func envName(key string) string {
	return envPrefix + strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(key))
}

// platformMade reports whether a variable is one of those Kubernetes and Docker set for a service named morrow, with or without a suffix.
func platformMade(name string) bool {
	return strings.Contains(name, "_SERVICE_") || strings.Contains(name, "_PORT_") || strings.HasSuffix(name, "_PORT")
}
