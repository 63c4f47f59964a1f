using System.Globalization;
using Microsoft.Extensions.Logging;

namespace Snapshots.Host;

/// <summary>Writes each log message as one line with its time. The console's logger would keep writing to the descriptors it found at its start.</summary>
internal sealed class LineLogger(TextWriter destination) : ILoggerProvider
{
    public ILogger CreateLogger(string categoryName) => new Category(destination, categoryName);

    public void Dispose()
    {
        // The writer belongs to whoever gave it.
    }

    private sealed class Category(TextWriter destination, string name) : ILogger
    {
        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => logLevel != LogLevel.None;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
        {
            var cause = exception is null ? string.Empty : $": {exception}";
            destination.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{DateTimeOffset.UtcNow:yyyy-MM-ddTHH:mm:ss.fffZ} {logLevel} {name}: {formatter(state, exception)}{cause}"));
        }
    }
}
